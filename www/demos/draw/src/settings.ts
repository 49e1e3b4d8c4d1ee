import type { DeviceChoice } from "forgeling/worker";

/** What the address of the page can choose: `?device=cpu&episodes=300&filters=32&seed=0`. */
export interface Settings {
  device: DeviceChoice;
  episodes: number;
  filters: number;
  seed: number;
  /** What in the address made no sense, in plain words. */
  complaints: string[];
}

export function readSettings(query: string): Settings {
  const parameters = new URLSearchParams(query);
  const complaints: string[] = [];
  const whole = (name: string, fallback: number, least: number, most: number): number => {
    const text = parameters.get(name);
    if (text === null) return fallback;
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    complaints.push(`“${name}” must be a whole number from ${least} to ${most}; using ${fallback}.`);
    return fallback;
  };
  const asked = parameters.get("device") ?? "auto";
  const known = /^(auto|cpu|gpu|gpu:\d+)$/.test(asked);
  if (!known) complaints.push("“device” must be auto, cpu, gpu or gpu:0; using auto.");
  return {
    device: known ? (asked as DeviceChoice) : "auto",
    episodes: whole("episodes", 300, 1, 100_000),
    filters: whole("filters", 32, 1, 512),
    seed: whole("seed", 0, 0, 2 ** 31 - 1),
    complaints,
  };
}
