alias stored = f32;
