/**
 * Frames of HTTP/2 (RFC 9113 §4.1), to be sent as they are: a client library would refuse to write most of what tests try.
 *
 * @module
 */

const END_STREAM = 1;
const END_HEADERS = 4;
const CANCEL = 8;

/** A field with its value, as byte strings of less than 127 characters each. */
export type Http2Field = readonly [name: string, value: string];

export interface FrameOptions {
  /** 1 unless given; a client's streams have odd numbers. */
  readonly stream?: number;
  /** Nothing follows on this stream; so it is unless given. */
  readonly ends?: boolean;
}

/** What a client begins with: the preface of the connection, and settings without any. */
export const HTTP2_BEGINNING = latin1("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");

export function headersFrame(
  fields: readonly Http2Field[],
  options: FrameOptions = {},
): Uint8Array {
  return frame(1, fields.flatMap(literal), { flags: END_HEADERS, ...options });
}

export function dataFrame(data: string, options: FrameOptions = {}): Uint8Array {
  return frame(0, [...latin1(data)], options);
}

/** The client does not want its answer any more. */
export function cancelFrame({ stream = 1 }: { readonly stream?: number } = {}): Uint8Array {
  return frame(3, [0, 0, 0, CANCEL], { stream, ends: false });
}

function frame(
  type: number,
  payload: readonly number[],
  { flags = 0, stream = 1, ends = true }: FrameOptions & { readonly flags?: number },
): Uint8Array {
  const { length } = payload;
  const head = [0, length >> 8, length & 255, type, flags | (ends ? END_STREAM : 0), 0, 0, 0];
  return new Uint8Array([...head, stream, ...payload]);
}

/** A literal without Huffman coding that is not kept (RFC 7541 §6.2.2). */
function literal(field: Http2Field): number[] {
  return [0, ...field.flatMap((text) => [text.length, ...latin1(text)])];
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
