// What else a product ends with: a bias that is added, and a copy that is kept before the activation.
const HAS_BIAS = 1u;
const KEEP = 2u;
