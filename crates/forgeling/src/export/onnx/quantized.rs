//! Layers that work in 8 bits: QuantizeLinear and DequantizeLinear around operators of f32, which runtimes make one.

use super::layers::integer_axis;
use super::schema::Data;
use super::writer::At;
use crate::error::Result;
use crate::ops::weight_bytes;
use crate::train::weights::NamedTensor;

/// Beyond it a bias in 32 bits would be cut off.
const LARGEST_BIAS: f64 = i32::MAX as f64;

impl At<'_> {
    /// Values rounded to 8 bits by the scale of this name, and what they stand for.
    pub fn rounded(&mut self, x: &str, field: &str, zero_point: u8) -> Result<String> {
        let scale = self.take(field)?.values[0];
        let role = |what: &str| format!("{field}.{what}");
        let name = self.constant(&role("step"), &[], vec![scale]);
        let zero = self.tensor(&role("zero"), &[], Data::U8(vec![zero_point]));
        let inputs = [x, &name, &zero];
        let q = self.named_node("QuantizeLinear", &role("QuantizeLinear"), &inputs, vec![]);
        let role = role("DequantizeLinear");
        let y = self.named_node("DequantizeLinear", &role, &[&q, &name, &zero], vec![]);
        self.note_scale(&y, scale);
        Ok(y)
    }

    /// The weight of the node, or of a part of it, with its outputs along an axis, and then the bias if there is one. In a
    /// layer that works in 8 bits, `x` says what the bias in 32 bits is to be a multiple of.
    pub fn weight_and_bias(
        &mut self,
        part: &str,
        axis: usize,
        x: &str,
        change: impl FnOnce(NamedTensor) -> NamedTensor,
    ) -> Result<(String, Option<String>)> {
        let named = |what: &str| match part {
            "" => what.to_owned(),
            part => format!("{part}.{what}"),
        };
        let [weight, bias] = ["weight", "bias"].map(named);
        if !self.has(&named("weight_scale")) {
            let weight = self.changed_weight(&weight, change)?;
            return Ok((weight, self.weight_if_any(&bias)?));
        }
        let scales = self.take(&named("weight_scale"))?.values;
        let tensor = change(self.take(&weight)?);
        let inner: usize = tensor.shape[axis + 1..].iter().product();
        let rounded = weight_bytes(&tensor.values, &scales, inner);
        let q = self.tensor(&weight, &tensor.shape, Data::I8(rounded));
        let count = [scales.len()];
        let step = self.constant(&named("weight.step"), &count, scales.clone());
        let zeros = Data::I8(vec![0; scales.len()]);
        let zero = self.tensor(&named("weight.zero"), &count, zeros);
        let role = named("weight.DequantizeLinear");
        let attributes = vec![("axis", integer_axis(axis))];
        let weight = self.named_node("DequantizeLinear", &role, &[&q, &step, &zero], attributes);
        if !self.has(&bias) {
            return Ok((weight, None));
        }
        let Some(input) = self.scale_of(x) else {
            return Ok((weight, Some(self.weight(&bias)?)));
        };
        let steps: Vec<f32> = scales.iter().map(|scale| input * scale).collect();
        let values = self.take(&bias)?.values;
        let rounded = values.iter().zip(&steps).map(|(value, step)| {
            let place = (f64::from(*value) / f64::from(*step)).round_ties_even();
            place.clamp(-LARGEST_BIAS, LARGEST_BIAS) as i32
        });
        let q = self.tensor(&bias, &count, Data::I32(rounded.collect()));
        let step = self.constant(&named("bias.step"), &count, steps);
        let role = named("bias.DequantizeLinear");
        let attributes = vec![("axis", integer_axis(0))];
        // There is no zero point of 32 bits.
        let bias = self.named_node("DequantizeLinear", &role, &[&q, &step], attributes);
        Ok((weight, Some(bias)))
    }
}
