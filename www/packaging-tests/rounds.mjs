// Who has a turn when, and what the times come to; apart from the browser, so that it can be tested.

/** Milliseconds of a step above which an implementation has fewer rounds. */
const slow = 1500;

/** Rounds and steps of a turn for an implementation whose steps take `milliseconds` when warm. */
export function pace(milliseconds, rounds) {
  return milliseconds > slow ? { rounds: Math.min(3, rounds), steps: 1 } : { rounds, steps: 3 };
}

/** Whether an implementation with `own` of `all` rounds has a turn in this one; they are spread evenly. */
export function hasTurn(round, own, all) {
  return Math.floor(((round + 1) * own) / all) > Math.floor((round * own) / all);
}

/** Median, least and greatest. */
export function summary(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** One line for each of `results`, `{ kind, ours, name, device, pace, openMs, firstMs, times }`; peers against ours of a kind. */
export function lines(workload, results) {
  const round = (value) => Math.round(value * 1000) / 1000;
  const medians = new Map(results.filter(({ ours }) => ours).map((r) => [r.kind, summary(r.times).median]));
  return results.map(({ kind, ours, name, device, pace, openMs, firstMs, times }) => {
    const { median, min, max } = summary(times);
    const reference = ours ? undefined : medians.get(kind);
    return {
      workload,
      implementation: name,
      device,
      median_ms: round(median),
      min_ms: round(min),
      max_ms: round(max),
      rounds: times.length,
      steps: pace.steps,
      open_ms: round(openMs),
      first_ms: round(firstMs),
      ...(reference === undefined ? {} : { ratio: round(median / reference) }),
    };
  });
}
