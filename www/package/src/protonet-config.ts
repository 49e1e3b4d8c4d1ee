// What a `ProtoNet` may be asked for.

import type { ModelName, NetworkGraph } from "./network-graph.js";

/**
 * How a model learns from a few examples. Those up to `simpleshot` compare features; the others take gradient steps on
 * the examples first. Where in doubt: `protonet`.
 */
export type Method =
  | "protonet"
  | "matching"
  | "relation"
  | "r2d2"
  | "simpleshot"
  | "maml"
  | "fomaml"
  | "anil"
  | "reptile"
  | "metasgd"
  | "mamlpp"
  | "imaml"
  | "fobmaml";

/** The network and its method. */
export interface ProtoNetConfig {
  /** Default `"protonet"`. */
  method?: Method;
  /** A network by name, or one's own, which has its own sizes in the place of those below. Default `"conv4"`. */
  model?: ModelName | NetworkGraph;
  /** The most classes of an episode, for methods that take gradient steps. Default 5. */
  ways?: number;
  /** Input channels. Default 1. */
  channels?: number;
  /** The network's width: for `conv4` the filters of every convolution. Default: the network's, 64 of `conv4`; 32 is twice to three times as fast. */
  filters?: number;
  /** Blocks of `conv4`. Default 4, and 2 for `relation`. */
  blocks?: number;
  /** Width and height of the input, in pixels. Default 28. */
  size?: number;
  /** Seed of the first weights. Default 0. */
  seed?: number;
}

/** Settings of single methods, beside the shape. */
export interface MethodOptions {
  /** Of `protonet`. Default `"euclidean"`. */
  distance?: "euclidean" | "cosine" | "mahalanobis";
  /** Gradient steps on an episode's examples, for methods that take some. Default: the method's. */
  innerSteps?: number;
  /** The same in evaluation. Default: as in training, 16 for `reptile`. */
  testSteps?: number;
  /** Their learning rate. Default: the method's. */
  innerRate?: number;
  /** How strongly `imaml` and `fobmaml` hold parameters at the first ones. Default 0.5. */
  lambda?: number;
  /** Let batch norm see all queries of a training episode at once. Default false. */
  transductive?: boolean;
  /** Classes of the training set, for `simpleshot`. */
  classes?: number;
}
