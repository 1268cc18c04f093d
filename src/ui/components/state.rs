//! State as a shape and a word, never as colour alone: triangle outside, half diamond at risk, dashed ring too little data, check within,
//! padlock protected. The shapes are symbols that stand once on each page.

use crate::server::service::figures::Standing;
use leptos::prelude::*;

/// The symbols and the hatch pattern, once a page, out of sight but not `display: none` (the pattern would vanish).
const SPRITE: &str = r#"<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="5"/></pattern><symbol id="g-out" viewBox="0 0 14 14"><path fill="currentColor" d="M7 .8 13.7 13H.3z"/><path d="M7 5v3.6M7 10.2v1.3" stroke="var(--surface)" stroke-width="1.5"/></symbol><symbol id="g-risk" viewBox="0 0 14 14"><path fill="none" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round" d="M7 1 13 7 7 13 1 7z"/><path fill="currentColor" d="M7 1v12L1 7z"/></symbol><symbol id="g-in" viewBox="0 0 14 14"><path fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" d="m2.5 7.5 3 3 6-7"/></symbol><symbol id="g-few" viewBox="0 0 14 14"><circle cx="7" cy="7" r="5.2" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2.3 1.8"/></symbol><symbol id="g-none" viewBox="0 0 14 14"><path stroke="currentColor" stroke-width="1.5" d="M3 7h8"/></symbol><symbol id="g-miss" viewBox="0 0 14 14"><circle cx="7" cy="7" r="6.2" fill="currentColor"/><path stroke="var(--surface)" stroke-width="1.7" stroke-linecap="round" d="m4.7 4.7 4.6 4.6m0-4.6L4.7 9.3"/></symbol><symbol id="g-lock" viewBox="0 0 14 14"><rect x="2.2" y="6" width="9.6" height="6.6" rx="1.2" fill="currentColor"/><path fill="none" stroke="currentColor" stroke-width="1.5" d="M4.4 6V4.3a2.6 2.6 0 0 1 5.2 0V6"/></symbol><symbol id="g-seal" viewBox="0 0 14 14"><path fill="currentColor" d="M7 .6 12.6 2.8v4c0 3.4-2.4 5.6-5.6 6.8C3.8 12.4 1.4 10.2 1.4 6.8v-4z"/><path fill="none" stroke="var(--surface)" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" d="m4.3 7 2 2 3.5-4"/></symbol></defs>"#;

pub fn sprite() -> AnyView {
    view! { <svg width="0" height="0" class="vh" aria-hidden="true" focusable="false" inner_html=SPRITE></svg> }.into_any()
}

/// One shape of the sprite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    Out,
    Risk,
    In,
    Few,
    None,
    Miss,
    Lock,
    Seal,
}

impl Glyph {
    fn symbol(self) -> &'static str {
        match self {
            Glyph::Out => "g-out",
            Glyph::Risk => "g-risk",
            Glyph::In => "g-in",
            Glyph::Few => "g-few",
            Glyph::None => "g-none",
            Glyph::Miss => "g-miss",
            Glyph::Lock => "g-lock",
            Glyph::Seal => "g-seal",
        }
    }

    /// As markup, for what is drawn as text.
    pub fn markup(self, class: &str) -> String {
        format!(
            r##"<svg class="g{}{class}" aria-hidden="true"><use href="#{}"/></svg>"##,
            if class.is_empty() { "" } else { " " },
            self.symbol()
        )
    }
}

/// The shape alone; a word has to stand beside it.
pub fn glyph(shape: Glyph, class: &'static str) -> AnyView {
    let inner = format!(r##"<use href="#{}"/>"##, shape.symbol());
    let class = if class.is_empty() { "g".to_owned() } else { format!("g {class}") };
    view! { <svg class=class aria-hidden="true" inner_html=inner></svg> }.into_any()
}

/// How a state weighs on the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bad,
    Warn,
    Good,
    In,
    Few,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Tone::Plain => "st",
            Tone::Bad => "st st-bad",
            Tone::Warn => "st st-warn",
            Tone::Good => "st st-good",
            Tone::In => "st st-in",
            Tone::Few => "st st-few",
        }
    }
}

/// Shape and words together.
pub fn state(tone: Tone, shape: Glyph, words: impl IntoAny) -> AnyView {
    view! { <span class=tone.class()>{glyph(shape, "")}{words.into_any()}</span> }.into_any()
}

/// Tone, shape and word of where a prefix stands.
pub fn standing(of: Standing, protected: bool) -> (Tone, Glyph, &'static str) {
    match of {
        Standing::Outside => (Tone::Bad, Glyph::Out, "outside"),
        Standing::AtRisk => (Tone::Warn, Glyph::Risk, "at risk"),
        Standing::Within => (Tone::In, Glyph::In, "within"),
        Standing::NotProven { .. } if protected => (Tone::Few, Glyph::Lock, "protected"),
        Standing::NotProven { .. } => (Tone::Few, Glyph::Few, "too little data"),
        Standing::NoPolicy => (Tone::Few, Glyph::None, "no policy"),
    }
}

/// Tone, shape and word of a flush's verdict.
pub fn verdict(of: &str) -> (Tone, Glyph, &'static str) {
    match of {
        "recovered" => (Tone::Good, Glyph::In, "recovered"),
        "not_recovered" => (Tone::Bad, Glyph::Out, "not recovered"),
        "worse" => (Tone::Bad, Glyph::Out, "worse"),
        _ => (Tone::Few, Glyph::Few, "too little data"),
    }
}

/// A paragraph that stands out: what is wrong or to be known, with a shape before it.
pub fn notice(tone: Tone, shape: Glyph, body: impl IntoAny) -> AnyView {
    let (class, mark) = match tone {
        Tone::Bad => ("notice notice-bad", "g-bad"),
        Tone::Warn => ("notice notice-warn", "g-warn"),
        Tone::Good => ("notice notice-good", "g-good"),
        _ => ("notice", ""),
    };
    view! { <div class=class>{glyph(shape, mark)}<div>{body.into_any()}</div></div> }.into_any()
}
