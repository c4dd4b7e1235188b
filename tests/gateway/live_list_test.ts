import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Listed, LiveList } from "../../gateway/live_list.ts";

interface Member extends Listed<Member> {
  readonly id: number;
}

Deno.test("a live list is a set in the order of its members' coming, whatever comes and goes", () => {
  const step = fc.record({ id: fc.integer({ min: 0, max: 9 }), comes: fc.boolean() });
  fc.assert(fc.property(fc.array(step), (steps) => {
    const list = new LiveList<Member>();
    const members = Array.from({ length: 10 }, (_, id): Member => ({ id }));
    const model = new Set<Member>();
    for (const { id, comes } of steps) {
      const member = members[id] as Member;
      if (comes && !model.has(member)) {
        list.add(member);
        model.add(member);
      } else if (!comes) assertEquals(list.delete(member), model.delete(member));
      assertEquals(list.size, model.size);
      assertEquals(list.toArray().map((each) => each.id), [...model].map((each) => each.id));
      for (const each of members) {
        assertEquals(list.find((other) => other === each) !== undefined, model.has(each));
      }
    }
  }));
});

Deno.test("a member that has left a live list refers to none of the others", () => {
  const list = new LiveList<Member>();
  const [first, middle, last]: Member[] = [{ id: 1 }, { id: 2 }, { id: 3 }];
  for (const each of [first, middle, last]) list.add(each as Member);
  assert(list.delete(middle as Member));
  assertEquals([middle?.before, middle?.after], [undefined, undefined]);
  assertEquals(first?.after, last);
});
