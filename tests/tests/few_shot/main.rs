//! What holds for every few-shot method.

mod faults;
mod files;
mod learning;
mod platforms;
mod sine;
mod stacking;
