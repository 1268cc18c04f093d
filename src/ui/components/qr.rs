//! A QR code, drawn as one path.

use leptos::prelude::*;
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write;

/// Light modules around it, as the standard asks.
const QUIET: usize = 4;

/// `text` for a phone's camera; None where it is too long for one. Dark on light in either scheme: many readers know nothing else.
pub fn qr(text: &str, label: &'static str) -> Option<AnyView> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let (width, mut dark) = (code.width(), String::new());
    for (place, _) in code.to_colors().iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let _ = write!(dark, "M{} {}h1v1h-1z", place % width + QUIET, place / width + QUIET);
    }
    let side = width + 2 * QUIET;
    let drawn = format!(r##"<rect width="{side}" height="{side}" fill="#ffffff"/><path d="{dark}" fill="#000000"/>"##);
    let window = format!("0 0 {side} {side}");
    Some(
        view! { <svg class="qr" role="img" aria-label=label viewBox=window width="216" height="216" shape-rendering="crispEdges" inner_html=drawn></svg> }
            .into_any(),
    )
}
