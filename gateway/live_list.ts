/**
 * What is under way, in the order in which it began.
 *
 * Why not a `Set` or a `Map`: when one of those has been added to and deleted from for a while, it moves to a new table, and V8 keeps
 * a reference from each old table to the next one. Once the garbage collector has moved one old table to the old generation,
 * all later ones, with everything that was in them, survive its quick runs: a busy gateway spent a fifth of its time on
 * requests that had long ended.
 *
 * @module
 */

/** What a list needs of its members; only the list sets these. */
export interface Listed<T> {
  before?: T | undefined;
  after?: T | undefined;
  listed?: boolean;
}

/** A doubly linked list through its members. One member stands in one list at a time. */
export class LiveList<T extends Listed<T>> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(member: T): void {
    member.listed = true;
    member.before = this.#last;
    if (this.#last) this.#last.after = member;
    else this.#first = member;
    this.#last = member;
    this.#size++;
  }

  /** Takes a member out, which then refers to no other. @returns whether it was in */
  delete(member: T): boolean {
    if (!member.listed) return false;
    const { before, after } = member;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    member.before = member.after = undefined;
    member.listed = false;
    this.#size--;
    return true;
  }

  /** The oldest member that is wanted: quick where that is one of the first. */
  find(isWanted: (member: T) => boolean): T | undefined {
    for (let member = this.#first; member; member = member.after) {
      if (isWanted(member)) return member;
    }
  }

  /** A copy, oldest first, that does not change with the list. */
  toArray(): T[] {
    const members: T[] = [];
    for (let member = this.#first; member; member = member.after) members.push(member);
    return members;
  }
}
