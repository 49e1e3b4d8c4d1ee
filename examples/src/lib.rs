//! One binary for each idea, in `src/bin`; each imports only `forgeling`.
