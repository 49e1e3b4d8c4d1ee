// Added to variances.
const EPSILON = 1e-5;
