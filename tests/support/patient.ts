/**
 * For tests in which hooks are to run however busy the machine is. With the defaults (100 ms) a hook that had to wait for a
 * core is skipped, as it should be, and a test that is not about time fails.
 *
 * @module
 */

export const PATIENT = { hookTimeoutMs: 5000, hardCeilingMs: 5000 } as const;
