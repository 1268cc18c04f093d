//! The middle of several measurements.

/// The middle of `values` (the mean of the middle two where their number is even). Panics without values: a benchmark that measured nothing has failed.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "no run was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
