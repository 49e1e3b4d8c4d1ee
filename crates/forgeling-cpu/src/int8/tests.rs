//! Every kernel of this machine against sums in i64.

use super::{Grid, Kernel, Scaled, conv2d, linear};
use crate::conv2d::ConvShape;

/// The same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    fn weights(&mut self, count: usize) -> Vec<i8> {
        // The ends are common.
        let each = |n: u64| match n % 5 {
            0 => 127,
            1 => -127,
            _ => (n / 5 % 255) as i64 - 127,
        };
        (0..count).map(|_| each(self.next()) as i8).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let each = |n: u64| match n % 4 {
            0 => 255,
            1 => 0,
            _ => n / 4 % 256,
        };
        (0..count).map(|_| each(self.next()) as u8).collect()
    }
}

const SCALE: f32 = 0.25;

/// Values that stand for these bytes exactly.
fn values(bytes: &[u8], zero_point: u8) -> Vec<f32> {
    let value = |byte: &u8| SCALE * f32::from(i16::from(*byte) - i16::from(zero_point));
    bytes.iter().map(value).collect()
}

fn outputs(outputs: usize) -> (Vec<i32>, Vec<f32>) {
    let bias = (0..outputs).map(|o| o as i32 * 1001 - 7000).collect();
    let multiplier = (0..outputs).map(|o| 0.001 + o as f32 * 0.0003).collect();
    (bias, multiplier)
}

#[test]
fn layers_of_neurons_equal_sums_in_i64() {
    let mut numbers = Numbers(1);
    for (rows, inputs, count) in [
        (1, 1, 1),
        (1, 67, 35),
        (3, 5, 16),
        (9, 128, 17),
        (41, 130, 50),
        (2, 2048, 3),
    ] {
        for zero_point in [0, 128, 255] {
            let bytes = numbers.bytes(rows * inputs);
            let weights = numbers.weights(inputs * count);
            let (bias, multiplier) = outputs(count);
            let mut expected = vec![0.0; rows * count];
            for (place, y) in expected.iter_mut().enumerate() {
                let (row, output) = (place / count, place % count);
                let terms = (0..inputs).map(|k| {
                    let x = i64::from(bytes[row * inputs + k]) - i64::from(zero_point);
                    x * i64::from(weights[k * count + output])
                });
                let sum = terms.sum::<i64>() + i64::from(bias[output]);
                *y = sum as i32 as f32 * multiplier[output];
            }
            let grid = Grid {
                scale: SCALE,
                zero_point,
            };
            let packed = linear::pack(&weights, inputs, count);
            let scaled = Scaled {
                bias: &bias,
                multiplier: &multiplier,
            };
            let x = values(&bytes, zero_point);
            for kernel in Kernel::all() {
                let got = linear::linear(&x, inputs, grid, &packed, scaled, kernel);
                assert_eq!(
                    got, expected,
                    "{kernel:?} {rows} {inputs} {count} {zero_point}"
                );
            }
        }
    }
}

#[test]
fn convolutions_equal_sums_in_i64() {
    let mut numbers = Numbers(2);
    let shape =
        |images, groups, [inputs, outputs]: [usize; 2], size, kernel, stride, padding| ConvShape {
            images,
            groups,
            inputs,
            outputs,
            size,
            kernel,
            stride,
            padding,
        };
    for shape in [
        shape(1, 1, [1, 1], [1, 1], [1, 1], [1, 1], [0, 0]),
        shape(2, 1, [3, 5], [7, 6], [3, 3], [1, 1], [1, 1]),
        shape(1, 1, [64, 67], [5, 9], [3, 3], [1, 1], [1, 1]),
        shape(3, 2, [10, 34], [8, 5], [3, 2], [2, 1], [1, 0]),
        shape(1, 1, [17, 16], [9, 9], [1, 1], [2, 2], [0, 0]),
        shape(1, 6, [6, 6], [6, 5], [3, 3], [1, 1], [1, 1]),
        shape(2, 1, [4, 20], [11, 4], [5, 4], [3, 2], [2, 3]),
    ] {
        let [inputs, filters] = shape.group();
        let [rows, columns] = shape.out();
        for zero_point in [0, 77, 255] {
            let bytes = numbers.bytes(shape.images * shape.inputs * shape.size[0] * shape.size[1]);
            let weights = numbers.weights(shape.outputs * inputs * shape.taps());
            let (bias, multiplier) = outputs(shape.outputs);
            let mut expected = Vec::new();
            for image in 0..shape.images {
                for filter in 0..shape.outputs {
                    for pixel in 0..rows * columns {
                        let (row, column) = (pixel / columns, pixel % columns);
                        let mut sum = i64::from(bias[filter]);
                        for input in 0..inputs {
                            for tap in 0..shape.taps() {
                                let (r, c) = (tap / shape.kernel[1], tap % shape.kernel[1]);
                                let r = (row * shape.stride[0] + r).wrapping_sub(shape.padding[0]);
                                let c =
                                    (column * shape.stride[1] + c).wrapping_sub(shape.padding[1]);
                                if r >= shape.size[0] || c >= shape.size[1] {
                                    continue;
                                }
                                let channel = filter / filters * inputs + input;
                                let plane = image * shape.inputs + channel;
                                let at = (plane * shape.size[0] + r) * shape.size[1] + c;
                                let w = weights[(filter * inputs + input) * shape.taps() + tap];
                                let x = i64::from(bytes[at]) - i64::from(zero_point);
                                sum += x * i64::from(w);
                            }
                        }
                        expected.push(sum as i32 as f32 * multiplier[filter]);
                    }
                }
            }
            let grid = Grid {
                scale: SCALE,
                zero_point,
            };
            let packed = conv2d::pack(&weights, &shape);
            let scaled = Scaled {
                bias: &bias,
                multiplier: &multiplier,
            };
            let x = values(&bytes, zero_point);
            for kernel in Kernel::all() {
                let got = conv2d::conv2d(&x, &shape, grid, &packed, scaled, kernel);
                assert_eq!(got, expected, "{kernel:?} {shape:?} {zero_point}");
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_none_and_the_rest_is_as_before() {
    let (bias, multiplier) = outputs(3);
    let scaled = Scaled {
        bias: &bias,
        multiplier: &multiplier,
    };
    let grid = Grid {
        scale: 1.0,
        zero_point: 3,
    };
    let weights = Numbers(4).weights(5 * 3);
    let packed = linear::pack(&weights, 5, 3);
    let mut x = vec![1.0; 4 * 5];
    let run = |x: &[f32]| linear::linear(x, 5, grid, &packed, scaled, super::fastest());
    let before = run(&x);
    x[7] = f32::NAN;
    let after = run(&x);
    assert!(after[3..6].iter().all(|y| y.is_nan()));
    assert_eq!((&after[..3], &after[6..]), (&before[..3], &before[6..]));
    // Beyond the ends values are cut off.
    x[7] = f32::INFINITY;
    let largest = run(&x);
    x[7] = 252.0;
    assert_eq!(largest, run(&x));
}
