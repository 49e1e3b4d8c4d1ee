// The options and events of `Trainer`.
import type { MODELS } from "./models.js";
import type { ModelName, NetworkGraph } from "./network-graph.js";

/** What pages call a network's `width`. */
type WidthName<K extends ModelName> = K extends "mlp" ? "hidden" : K extends "conv4" | "conv6" ? "filters" : "width";

/** The options of a network by their names in a page; {@link MODELS} tells what each is, its default and its range. */
type OptionsOf<K extends ModelName> = {
  [O in keyof (typeof MODELS)[K]["options"] as O extends "width" ? WidthName<K> : O]?: number;
};

/** The images that a network takes. */
interface ImageSize {
  /** Default: those of {@link MODELS}. */
  channels?: number;
  /** Width and height of the images, in pixels; of a sequence its steps. Default: those of {@link MODELS}. */
  size?: number;
}

/** Rows of plain numbers, which a perceptron takes, too. */
interface RowSize {
  /** Numbers of a row. Default: those of an image of `channels` × `size` × `size`. */
  inputs?: number;
}

/** A network by name, with what is to differ from its defaults. Its last layer has one output for each class. */
export type ModelOptions = {
  [K in ModelName]: { kind: K } & ImageSize & OptionsOf<K> & (K extends "mlp" ? RowSize : unknown);
}[ModelName];

/** What moves the weights. */
export type OptimizerOptions =
  | {
      /** Adam (Kingma and Ba 2014, arXiv:1412.6980), with the weight decay of AdamW. */
      adam: {
        /** Default 0.9. */
        beta1?: number;
        /** Default 0.999. */
        beta2?: number;
        /** Default 1e-8. */
        epsilon?: number;
        /** Part of itself that a weight loses at each step, times the learning rate. Default 0. */
        weightDecay?: number;
        /** The largest norm of all gradients together. Default: no limit. */
        clipNorm?: number;
      };
    }
  | {
      /** Stochastic gradient descent. */
      sgd: {
        /** How much of the velocity is kept at each step. Default 0. */
        momentum?: number;
        /** Whether to step along the velocity that the next step would have. Default false. */
        nesterov?: boolean;
        /** Times the weight, added to its gradient. Default 0. */
        weightDecay?: number;
        /** The largest norm of all gradients together. Default: no limit. */
        clipNorm?: number;
      };
    };

/** The learning rate over the steps. */
export type ScheduleOptions =
  | { kind: "constant"; rate: number }
  | { kind: "halving"; initial: number; every: number }
  | { kind: "step_decay"; initial: number; factor: number; every: number }
  | { kind: "cosine"; initial: number; floor: number; steps: number }
  | { kind: "linear"; initial: number; last: number; steps: number }
  | {
      kind: "one_cycle";
      peak: number;
      startDivisor: number;
      endDivisor: number;
      rising: number;
      steps: number;
    }
  | { kind: "warm_up"; steps: number; then: ScheduleOptions };

/** On what training runs, beside the device. */
export interface HardwareOptions {
  /**
   * What the other options begin with. Default `browser`: 16-bit activations on GPUs that compute with them, and at
   * most 512 MiB.
   */
  preset?: "fast" | "memory_constrained" | "high_throughput" | "browser";
  /** What activations are computed and kept in. Default `auto`. */
  precision?: "auto" | "f32" | "f16" | "bf16";
  /** Keep the inputs of blocks only and compute them once more: less memory for about a third more time. */
  gradientCheckpointing?: boolean;
  /** The most examples in one pass; a larger batch is dealt out in several. Default: as many as fit. */
  microBatch?: number;
  /** The most memory: bytes, or a fraction of {@link MemoryUsage.limit}. What does not fit makes micro-batches smaller. */
  memoryBudget?: { bytes: number } | { fraction: number };
  /** How losses are scaled where activations are f16. */
  lossScaler?: {
    initScale?: number;
    growthFactor?: number;
    backoffFactor?: number;
    growthInterval?: number;
  };
}

/** Where checkpoints are kept. */
export interface CheckpointOptions {
  /**
   * The run's name in this origin's IndexedDB. A trainer that is made with the same name, for example after the page was
   * loaded anew, goes on where the last checkpoint is. Without a name they are kept in memory only.
   */
  name?: string;
  /** How many of the last ones are kept. Default 3. */
  keep?: number;
  /** Save after so many steps, and not only after every epoch and at the end. */
  every?: number;
}

/** How to train; see {@link Trainer.create}. */
export interface TrainerOptions {
  /** The network: a name, one with sizes, or one's own. One that does not end in a linear layer is given one. */
  model: ModelName | ModelOptions | NetworkGraph;
  /** The names of the classes, or how many there are. */
  classes: number | readonly string[];
  /** Stop after so many times through the examples. Default 10 where no other limit is given. */
  epochs?: number;
  /** Stop after so many steps. */
  steps?: number;
  /** Stop after so many examples. */
  examples?: number;
  /** Stop after so many seconds. */
  seconds?: number;
  /** Examples of a batch. Default 32. */
  batchSize?: number;
  /** Batches whose gradients make one step. Default 1. */
  accumulate?: number;
  /** Default Adam. */
  optimizer?: OptimizerOptions;
  /** The same learning rate always. Default 0.001. */
  learningRate?: number;
  /** In the place of `learningRate`. */
  schedule?: ScheduleOptions;
  /** Average the weights of all steps; the average is what is validated and left behind. */
  ema?: { decay?: number; warmUp?: boolean };
  /** Stop when validation does not become better for long, and leave the best model behind. Needs `validation`. */
  earlyStopping?: { goal?: "minimize" | "maximize"; patience?: number; minDelta?: number };
  /** The share of each class's examples that is held out to validate with, 0 to below 1. Default 0: none. */
  validation?: number;
  /** Validate after so many steps, and not after every epoch. */
  validateEvery?: number;
  /** Turn, slant, stretch and move each training image a little at random. Default false. */
  augment?: boolean;
  /** Seed of the first weights, of the order and of the held-out examples. Default 0. */
  seed?: number;
  /** On what training runs. */
  hardware?: HardwareOptions;
  /** Keep checkpoints. Default: none are kept. */
  checkpoints?: CheckpointOptions;
  /** Try everything out on so many batches: nothing is saved. */
  fastDevRun?: number;
  /** Train on the first so many batches only: a network that cannot learn those by heart has a fault. */
  overfitBatches?: number;
}

/** How a model does on examples it is not trained on. */
export interface Validation {
  /** Mean cross-entropy, in nats. */
  loss: number;
  /** 0..1. */
  accuracy: number | null;
  /** 0..1: the mean of the classes' accuracies, so that each class counts alike. */
  balancedAccuracy: number | null;
  /** Examples looked at. */
  examples: number;
}

/** A step of the optimizer. */
export interface StepEvent {
  event: "step";
  /** Steps so far. */
  step: number;
  /** Epochs that are over. */
  epoch: number;
  /** Examples so far. */
  examples: number;
  /** Mean cross-entropy of this step's examples before the step, in nats. */
  loss: number;
  /** Share of this step's examples that were right, 0..1. */
  accuracy: number | null;
  learningRate: number;
  /** What the loss was scaled with. */
  lossScale: number;
  examplesPerSecond: number;
  /** Seconds since training began, those of earlier pages included. */
  seconds: number;
  skipped: boolean;
}

/** What happens in training; `event` tells which it is. The same, in camel case, as the library's `TrainEvent`. */
export type TrainEvent =
  | StepEvent
  /** A step was skipped, because a gradient, scaled for half precision, was not finite. */
  | { event: "skipped"; step: number; lossScale: number }
  /** Memory did not suffice for a pass: passes have so many examples from now on, steps as many as before. */
  | { event: "micro_batch"; step: number; examples: number }
  /** The examples were gone through once. */
  | {
      event: "epoch";
      epoch: number;
      step: number;
      loss: number;
      accuracy: number | null;
      seconds: number;
    }
  /** The model was validated on the set of that name; early stopping looks at the one that judges. */
  | ({ event: "validated"; step: number; set: string; judges: boolean } & Validation)
  /** A checkpoint was saved there. */
  | { event: "saved"; step: number; place: string }
  /** Training goes on from a checkpoint; `damaged` tells of later ones that were not whole. */
  | { event: "resumed"; step: number; epoch: number; damaged: string[] }
  /** Training ended: at a limit, because it was asked to, or because validation became no better. */
  | { event: "stopped"; step: number; reason: StopReason };

/** Why training ended. */
export type StopReason = "finished" | "asked" | "converged";

/** What {@link Trainer.fit} has done, earlier pages included. */
export interface FitSummary {
  steps: number;
  epochs: number;
  examples: number;
  /** Mean loss of the last 50 steps. */
  loss: number;
  /** Mean accuracy of the last 50 steps, 0..1. */
  accuracy: number | null;
  /** The last validation, if there was one. */
  validation: Validation | null;
  examplesPerSecond: number;
  seconds: number;
  reason: StopReason;
}

/** What the hardware options came to. */
export interface HardwareReport {
  /** The device's name. */
  device: string;
  precision: {
    asked: "auto" | "f32" | "f16" | "bf16";
    /** What activations are computed in: `f32` or `f16`. */
    compute: string;
    /** What they are packed to while they wait for the backward pass. */
    storage: string;
    /** Whether losses are scaled. */
    scaled: boolean;
    reason: string;
  };
  gradientCheckpointing: boolean;
  /** The most examples of a pass, where that is limited or memory has not sufficed for more. */
  microBatch: number | null;
  /** In bytes. */
  memoryBudget: number | null;
  layout: string;
}

/** A part of a training step, where memory is reported by parts. */
export type MemoryPhase = "data" | "forward" | "backward" | "step" | "readback";

/** What a training step takes, computed from the shapes. */
export interface MemoryPlan {
  /** Examples of a pass. */
  batch: number;
  /** The most bytes in use at once. */
  peak: number;
  /** The most bytes in use in each phase. */
  phases: Partial<Record<MemoryPhase, number>>;
  /** What is in use when the most is, the largest first. */
  contributors: { usage: string; name: string; bytes: number }[];
}
