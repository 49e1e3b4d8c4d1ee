import assert from "node:assert/strict";
import { test } from "node:test";
import { hasTurn, lines, pace, summary } from "./rounds.mjs";

const turns = (own, all) => Array.from({ length: all }, (_, round) => hasTurn(round, own, all));

test("every implementation has as many turns as rounds", () => {
  for (const [own, all] of [[3, 10], [10, 10], [1, 7], [3, 3]]) {
    assert.equal(turns(own, all).filter(Boolean).length, own, `${own} of ${all}`);
  }
  assert.deepEqual(turns(2, 4), [false, true, false, true]);
});

test("slow ones have three rounds of one step", () => {
  assert.deepEqual(pace(5000, 10), { rounds: 3, steps: 1 });
  assert.deepEqual(pace(5000, 2), { rounds: 2, steps: 1 });
  assert.deepEqual(pace(50, 10), { rounds: 10, steps: 3 });
});

test("the median of an even number lies between the middle ones", () => {
  assert.deepEqual(summary([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4 });
  assert.equal(summary([9, 1, 5]).median, 5);
});

test("peers are compared with ours of the same kind", () => {
  const result = (name, kind, ours, time) => ({ name, kind, ours, device: "d", pace: pace(1, 1), openMs: 9, firstMs: 7, times: [time] });
  const rows = lines("w", [
    result("a", "cpu", true, 10),
    result("b", "gpu", true, 100),
    result("c", "cpu", false, 25),
    result("d", "gpu", false, 25),
  ]);
  assert.deepEqual(rows.map(({ ratio }) => ratio), [undefined, undefined, 2.5, 0.25]);
  assert.deepEqual([rows[0].open_ms, rows[0].first_ms], [9, 7]);
  assert.deepEqual(lines("w", [result("c", "cpu", false, 25)])[0].ratio, undefined);
});
