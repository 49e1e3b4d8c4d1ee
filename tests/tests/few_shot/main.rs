//! What holds for every few-shot method.

mod encoders;
mod faults;
mod files;
mod learning;
mod norms;
mod platforms;
mod runs;
mod sine;
mod stacking;
mod tasks;
