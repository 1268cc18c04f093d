//! Small drawings in table cells: sparkline, interval on a shared axis, bar. Words and numbers beside them say the same, so they are hidden
//! from screen readers.

use crate::domain::chart::{short, spark};
use crate::server::service::figures::RateFigure;
use crate::ui::components::write::FEW;
use leptos::prelude::*;
use std::fmt::Write as _;

/// The shared axis of drawn intervals: 0 to 3 %, so that rows can be compared.
const AXIS_END: f64 = 0.03;
const AXIS: (f64, f64) = (5.0, 101.0);

/// The head of the interval column: the axis' numbers.
pub fn interval_axis() -> AnyView {
    let mut inner = String::new();
    for percent in 0..=3u32 {
        let x = AXIS.0 + f64::from(percent) * (AXIS.1 - AXIS.0) / 3.0;
        let _ = write!(inner, r#"<text x="{}" y="10" text-anchor="middle">{percent}</text>"#, short(x));
    }
    view! { <svg class="iv" width="108" height="13" viewBox="0 0 108 13" aria-hidden="true" inner_html=inner></svg> }.into_any()
}

/// The 95 % interval of a rate with its limit: wholly right of the dashes is outside.
pub fn interval(figure: RateFigure, limit: Option<f64>) -> Option<AnyView> {
    let value = figure.value()?;
    let (low, high) = figure.interval?;
    let x = |share: f64| AXIS.0 + (share / AXIS_END).clamp(0.0, 1.0) * (AXIS.1 - AXIS.0);
    let mut inner = format!(r#"<line class="axis" x1="{}" x2="{}" y1="10" y2="10"/>"#, AXIS.0, AXIS.1);
    if let Some(limit) = limit.filter(|limit| *limit <= AXIS_END) {
        let _ = write!(inner, r#"<line class="lim" x1="{0}" x2="{0}" y1="2" y2="18"/>"#, short(x(limit)));
    }
    let _ = write!(inner, r#"<line class="whisk" x1="{}" x2="{}" y1="10" y2="10"/>"#, short(x(low)), short(x(high).max(x(low) + 0.5)));
    if high > AXIS_END {
        inner.push_str(r#"<path d="M101 6.5l4 3.5-4 3.5" fill="none"/>"#);
    }
    if value <= AXIS_END {
        let _ = write!(inner, r#"<circle cx="{}" cy="10" r="3"/>"#, short(x(value)));
    }
    let class = if figure.n < FEW {
        "iv iv-few"
    } else if limit.is_some_and(|limit| low > limit) {
        "iv iv-bad"
    } else {
        "iv"
    };
    Some(view! { <svg class=class width="108" height="20" viewBox="0 0 108 20" aria-hidden="true" inner_html=inner></svg> }.into_any())
}

/// A line over the range with its limit dashed.
pub fn sparkline(values: &[Option<f64>], limit: Option<f64>) -> Option<AnyView> {
    const WIDTH: f64 = 58.0;
    const HEIGHT: f64 = 22.0;
    let drawn = spark(values, limit, WIDTH, HEIGHT);
    let (x, y) = drawn.dot?;
    let mut inner = String::new();
    if let Some(limit_y) = drawn.limit_y {
        let _ = write!(inner, r#"<line class="lim" x1="0" x2="{WIDTH}" y1="{0}" y2="{0}"/>"#, short(limit_y));
    }
    let _ = write!(inner, r#"<path d="{}"/><circle cx="{}" cy="{}" r="2"/>"#, drawn.path, short(x), short(y));
    let class = if drawn.over { "spark spark-bad" } else { "spark" };
    Some(view! { <svg class=class width="58" height="22" viewBox="0 0 58 22" aria-hidden="true" inner_html=inner></svg> }.into_any())
}

/// A bar of `width` pixels, filled by `share`.
pub fn bar(share: f64, width: u32) -> AnyView {
    let fill = short(f64::from(width) * share.clamp(0.0, 1.0));
    let inner = format!(r#"<rect width="{width}" height="8" rx="1"/><rect class="fill" width="{fill}" height="8" rx="1"/>"#);
    view! { <svg class="bar" width=width height="8" viewBox=format!("0 0 {width} 8") aria-hidden="true" inner_html=inner></svg> }.into_any()
}
