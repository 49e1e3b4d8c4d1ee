//! How a network weights its pathways over training, drawn.

use super::LineChart;
use crate::train::MixCurve;

/// The weight of each input of each mix over the epochs.
pub fn mix_figure(curves: &[MixCurve]) -> String {
    let chart = LineChart::new("epochs", "weight in the mix");
    let drawn = curves.iter().fold(chart, |chart, curve| {
        let mix = curve.layer.strip_suffix(".mix").unwrap_or(&curve.layer);
        let name = format!("{mix}: {}", curve.input);
        let points = curve.weights.iter();
        chart.series(&name, points.map(|&(epoch, weight)| (epoch as f64, weight)))
    });
    drawn.render()
}
