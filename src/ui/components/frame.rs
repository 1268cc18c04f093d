//! What stands around every page: top bar, data-quality strip, time range, footer; and how a piece of it is kept live.

use crate::domain::operator::{Permission, Viewer};
use crate::domain::range::{Preset, Range};
use crate::islands::Live;
use crate::server::service::flush::{Waiting, WaitsFor};
use crate::server::service::quality::Quality;
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, sprite, state};
use crate::ui::components::write;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use leptos::prelude::*;
use sha2::{Digest, Sha256};

/// A lag under which nobody needs to look.
const LAG_FINE_MS: u64 = 30_000;

/// The pages that the top bar leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nav {
    Overview,
    Contracts,
    Flush,
    Review,
    Audit,
    Demo,
    Users,
    Settings,
    Account,
    /// Sign-in, errors.
    None,
}

/// What a page is framed by. Built by the page's handler, once.
#[derive(Clone)]
pub struct Frame {
    pub viewer: Option<Viewer>,
    /// None only where Postgres is away and nothing was ever known.
    pub quality: Option<Quality>,
    /// Flushes that wait for this person.
    pub waiting: Vec<Waiting>,
    /// Everybody needs a second factor, and this person has none.
    pub enrol_first: bool,
    /// Whether this is `stalewatch demo`, which has a page of switches.
    pub demo: bool,
    pub at: Nav,
    /// The range that links to other pages carry on, as a query.
    pub range_query: String,
    /// What is searched for.
    pub search: String,
    pub now: DateTime<Utc>,
}

impl Frame {
    pub fn may(&self, permission: Permission) -> bool {
        self.viewer.as_ref().is_some_and(|viewer| viewer.may(permission))
    }
}

/// The whole body of a page: sprite, skip link, top bar, strip, `main`, footer.
pub fn body(frame: &Frame, main: impl IntoAny) -> AnyView {
    view! {
        {sprite()}
        <a class="skip" href="#main">"Skip to content"</a>
        {topbar(frame)}
        {frame.enrol_first.then(enrol_first)}
        {frame.quality.as_ref().map(|quality| strip(quality, &frame.waiting, &frame.range_query))}
        {main.into_any()}
        {footer(frame)}
        {help()}
        <Live/>
    }
    .into_any()
}

/// Said above everything else until it is done.
fn enrol_first() -> AnyView {
    let words = view! { <span>"Enrol a second factor: without one you can neither start nor approve a flush"</span> };
    view! {
        <section class="strip-line" aria-label="Your account">
            <ul class="strip"><li class="waits"><a href="/account#second-factor">{state(Tone::Warn, Glyph::Risk, words)}</a></li></ul>
        </section>
    }
    .into_any()
}

/// The mark and the name.
pub fn brand() -> AnyView {
    const MARK: &str = r#"<circle cx="10" cy="10" r="8.2" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="38.6 12.9" transform="rotate(-90 10 10)"/><path d="M10 5.2V10H5.6" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>"#;
    view! { <a class="brand" href="/"><svg width="19" height="19" viewBox="0 0 20 20" aria-hidden="true" inner_html=MARK></svg>"Stalewatch"</a> }.into_any()
}

fn topbar(frame: &Frame) -> AnyView {
    let range = &frame.range_query;
    let link = |to: Nav, href: String, name: &'static str| {
        view! { <a href=href aria-current=(to == frame.at).then_some("page")>{name}</a> }.into_any()
    };
    let who = frame.viewer.as_ref().map(|viewer| {
        view! {
            <a class="q" href="/account" aria-current=(frame.at == Nav::Account).then_some("page")>
                {viewer.name.clone()}" "<span class="quiet w2">{viewer.role.as_str()}</span>
            </a>
        }
    });
    let signed_in = frame.viewer.is_some();
    let nav = signed_in.then(|| {
        view! {
            <nav class="nav" aria-label="Main">
                {link(Nav::Overview, format!("/?{range}"), "Overview")}
                {link(Nav::Contracts, "/contracts".to_owned(), "Contracts")}
                {link(Nav::Flush, "/flush".to_owned(), "Flush")}
                {link(Nav::Review, "/review".to_owned(), "Review")}
                {link(Nav::Audit, "/audit".to_owned(), "Audit")}
                {frame.may(Permission::Administer).then(|| link(Nav::Users, "/users".to_owned(), "Users"))}
                {(frame.demo && frame.may(Permission::Administer)).then(|| link(Nav::Demo, "/demo".to_owned(), "Demo"))}
            </nav>
        }
    });
    let (name, value) = range.split_once('=').filter(|(name, _)| *name == "range").unwrap_or(("range", "24h"));
    let search = signed_in.then(|| {
        view! {
            <form class="search w3" role="search" action="/">
                <label class="vh" for="q">"Search prefix"</label>
                <input type="hidden" name=name.to_owned() value=value.to_owned()/>
                <input id="q" name="q" type="search" placeholder="Search prefix" autocomplete="off" value=frame.search.clone()/>
                <kbd aria-hidden="true">"/"</kbd>
            </form>
        }
    });
    view! { <header class="topbar">{brand()}{nav}<div class="tools">{search}{who}</div></header> }.into_any()
}

/// The data-quality strip: silence is never taken for health.
fn strip(quality: &Quality, waiting: &[Waiting], range_query: &str) -> AnyView {
    let live = region(format!("/live?of=quality&{range_query}"), "", "", strip_items(quality, waiting));
    view! {
        <section class="strip-line" aria-label="Data quality">
            {live}
            <p class="as-of">"As of " <span data-as-of="">{as_of(quality.as_of)}</span></p>
        </section>
    }
    .into_any()
}

/// `Mon 23 Nov 03:14:20 UTC`, as the strip and the live script write it.
fn as_of(at: DateTime<Utc>) -> AnyView {
    view! { <time datetime=at.to_rfc3339_opts(SecondsFormat::Secs, true)>{at.format("%a %-d %b %H:%M:%S UTC").to_string()}</time> }
        .into_any()
}

/// The strip's items: what waits for the reader, deviations with a word, what is fine as a check.
pub fn strip_items(quality: &Quality, waiting: &[Waiting]) -> AnyView {
    let now = quality.as_of;
    let mut items: Vec<AnyView> = waiting_items(waiting, now);
    let mut fine = 0u32;
    let item = |narrow: bool, tone: Tone, shape: Glyph, words: AnyView| {
        let class = if narrow { "w3" } else { "" };
        view! { <li class=class>{state(tone, shape, words)}</li> }.into_any()
    };
    if let Some(since) = quality.store_away_since {
        items.push(item(
            false,
            Tone::Bad,
            Glyph::Out,
            format!("Postgres away since {}: last figures known", write::moment(since, now)).into_any(),
        ));
    }
    match (quality.lag_ms, quality.last_event_at) {
        (Some(lag), _) if lag <= LAG_FINE_MS => {
            fine += 1;
            items.push(item(true, Tone::In, Glyph::In, format!("Ingest lag {}", lag_text(lag)).into_any()));
        }
        (Some(lag), _) => items.push(item(false, Tone::Warn, Glyph::Risk, format!("Ingest lag {}", lag_text(lag)).into_any())),
        (None, Some(last)) => {
            items.push(item(false, Tone::Warn, Glyph::Risk, format!("No event for {}", write::span(now - last)).into_any()));
        }
        (None, None) => items.push(item(false, Tone::Few, Glyph::Few, "No event yet".into_any())),
    }
    match quality.gaps.as_slice() {
        [] => {}
        [gap] => items.push(item(
            false,
            Tone::Plain,
            Glyph::None,
            format!("1 gap in 24 h, {}–{}", gap.from.format("%H:%M"), gap.to.format("%H:%M")).into_any(),
        )),
        gaps => items.push(item(false, Tone::Plain, Glyph::None, format!("{} gaps in 24 h", gaps.len()).into_any())),
    }
    if quality.rejected == 0 {
        if quality.accepted > 0 {
            fine += 1;
            items.push(item(true, Tone::In, Glyph::In, format!("Rejected 0 of {}", write::count(quality.accepted)).into_any()));
        }
    } else {
        let all = quality.rejected + quality.accepted;
        // One in a hundred is a client that is wrong, not a stray event.
        let (tone, shape) = if quality.rejected * 100 > all { (Tone::Warn, Glyph::Risk) } else { (Tone::Plain, Glyph::None) };
        items.push(item(
            tone == Tone::Plain,
            tone,
            shape,
            format!("Rejected {} of {} in 24 h", write::count(quality.rejected), write::count(all)).into_any(),
        ));
    }
    for silent in quality.silent.iter().take(3) {
        let words = view! { {code(&silent.source)}{format!(" silent for {}", write::span(now - silent.since))} };
        items.push(item(false, Tone::Warn, Glyph::Risk, words.into_any()));
    }
    if quality.silent.len() > 3 {
        items.push(item(false, Tone::Warn, Glyph::Risk, format!("{} more silent", quality.silent.len() - 3).into_any()));
    }
    let (up, down): (Vec<_>, Vec<_>) = quality.targets.iter().partition(|target| target.reachable);
    for target in &down {
        let since = target.since.map_or_else(String::new, |since| format!(" since {}", write::moment(since, now)));
        let words = view! { "Redis "{code(&target.name)}{format!(" unreachable{since}")} };
        items.push(item(false, Tone::Bad, Glyph::Out, words.into_any()));
    }
    if down.is_empty() && !up.is_empty() {
        fine += 1;
        items.push(item(true, Tone::In, Glyph::In, format!("{0} of {0} targets reachable", up.len()).into_any()));
    }
    for target in quality.targets.iter().filter(|target| target.over_privileged) {
        let words = view! { "Flush identity on "{code(&target.name)}" over-privileged" };
        items.push(item(true, Tone::Plain, Glyph::None, words.into_any()));
    }
    for trouble in quality.targets.iter().filter_map(|target| target.heard.as_ref()).flat_map(|heard| &heard.troubles).take(3) {
        let words = view! { {trouble.what.clone()}" "{(!trouble.mend.is_empty()).then(|| code(&trouble.mend))} };
        items.push(item(false, Tone::Warn, Glyph::Risk, words.into_any()));
    }
    if let Some(trouble) = &quality.audit.trouble {
        items.push(item(false, Tone::Bad, Glyph::Out, view! { <a href="/audit">{trouble.clone()}</a> }.into_any()));
    }
    if quality.audit.not_separated.is_some() {
        items.push(item(true, Tone::Plain, Glyph::None, "Audit not separated".into_any()));
    } else {
        fine += 1;
        items.push(item(true, Tone::In, Glyph::In, "Audit separated".into_any()));
    }
    for warning in quality.warnings.iter().take(2) {
        items.push(item(true, Tone::Plain, Glyph::None, warning.clone().into_any()));
    }
    if fine > 0 {
        items.push(view! { <li class="phone-only">{state(Tone::In, Glyph::In, format!("{fine} more checks fine"))}</li> }.into_any());
    }
    view! { <ul class="strip">{items}</ul> }.into_any()
}

/// What waits for the reader, each leading there.
fn waiting_items(waiting: &[Waiting], now: DateTime<Utc>) -> Vec<AnyView> {
    const SHOWN: usize = 3;
    let one = |flush: &Waiting| {
        let left = write::span(flush.until - now);
        let (tone, shape, lead, tail) = match flush.waits_for {
            WaitsFor::YourApproval => (Tone::Warn, Glyph::Risk, "Waits for your approval: ", format!(" on {}, {left} left", flush.target)),
            WaitsFor::YourStart => {
                (Tone::Warn, Glyph::Risk, "Approved, waits for your start: ", format!(" on {}, {left} left", flush.target))
            }
            WaitsFor::AnApprover => {
                (Tone::Few, Glyph::Few, "Your flush waits for an approver: ", format!(" on {}, {left} left", flush.target))
            }
        };
        let words = view! { <span>{lead}{code(&flush.scope)}{tail}</span> };
        view! { <li class="waits" data-waits=flush.id.to_string()><a href=format!("/flush/{}", flush.id)>{state(tone, shape, words)}</a></li> }
            .into_any()
    };
    let mut items: Vec<AnyView> = waiting.iter().take(SHOWN).map(one).collect();
    if waiting.len() > SHOWN {
        let more = state(Tone::Warn, Glyph::Risk, format!("{} more flushes wait", waiting.len() - SHOWN));
        items.push(view! { <li class="waits"><a href="/flush">{more}</a></li> }.into_any());
    }
    items
}

#[expect(clippy::cast_precision_loss, reason = "a lag in milliseconds, shown to one decimal")]
fn lag_text(lag_ms: u64) -> String {
    if lag_ms < 60_000 {
        format!("{:.1} s", lag_ms as f64 / 1_000.0)
    } else {
        write::span(TimeDelta::milliseconds(i64::try_from(lag_ms).unwrap_or(i64::MAX)))
    }
}

/// The range switch. `here` is the page's path, `keep` further parts of its query (`&q=…`).
pub fn range_nav(range: &Range, here: &str, keep: &str) -> AnyView {
    let format = if range.length() < TimeDelta::days(2) { "%a %-d %b %H:%M" } else { "%-d %b %H:%M" };
    let note = format!("{} to {}", range.from.format(format), range.to.format(format));
    let links: Vec<AnyView> = Preset::ALL
        .into_iter()
        .map(|preset| {
            let join = if here.contains('?') { '&' } else { '?' };
            let href = format!("{here}{join}range={}{keep}", preset.as_str());
            view! { <a href=href aria-current=(range.preset == Some(preset)).then_some("true")>{preset.label()}</a> }.into_any()
        })
        .collect();
    view! { <div><span class="range-note">{note}</span><nav class="range" aria-label="Time range">{links}</nav></div> }.into_any()
}

fn footer(frame: &Frame) -> AnyView {
    let config = frame.quality.as_ref().map(|quality| {
        let digest: String = quality.config_digest.chars().take(12).collect();
        let digest = code(&digest);
        let digest = if frame.may(Permission::Administer) { view! { <a href="/settings">{digest}</a> }.into_any() } else { digest };
        view! { <span class="w3">"Configuration "{digest}</span> }
    });
    view! {
        <footer class="foot">
            <span>"Times in UTC"</span>
            <span data-keys="" hidden>"Search "<kbd>"/"</kbd>" Help "<kbd>"?"</kbd></span>
            {config}
            <span>{format!("Stalewatch {}", env!("CARGO_PKG_VERSION"))}</span>
        </footer>
    }
    .into_any()
}

/// What the keys do, opened by `?`.
fn help() -> AnyView {
    view! {
        <dialog id="help" class="card" aria-labelledby="help-title">
            <h2 id="help-title">"Keys and gestures"</h2>
            <dl class="policy">
                <dt><kbd>"/"</kbd></dt><dd>"search a prefix"</dd>
                <dt><kbd>"?"</kbd></dt><dd>"this help"</dd>
                <dt><kbd>"Esc"</kbd></dt><dd>"leave a field, close this"</dd>
                <dt>"Drag on a chart"</dt><dd>"show that stretch of time; the address changes with it"</dd>
                <dt>"Point at a time"</dt><dd>"it is shown in your own time zone"</dd>
            </dl>
            <form method="dialog"><button class="btn btn-sm">"Close"</button></form>
        </dialog>
    }
    .into_any()
}

/// A piece of the page that follows the data: the script asks `url` with `since=` this piece's version, and puts in what comes back. Neither
/// form nor island may stand inside.
pub fn region(url: String, class: &'static str, label: &'static str, piece: AnyView) -> AnyView {
    let html = piece.to_html();
    let version = version(&html);
    let label = (!label.is_empty()).then_some(label);
    view! { <section class=class data-live=url data-version=version aria-label=label inner_html=html></section> }.into_any()
}

/// The version of a rendered piece: it moves exactly when what is shown moves, on whichever replica.
pub fn version(html: &str) -> String {
    Sha256::digest(html.as_bytes()).iter().take(8).fold(String::with_capacity(16), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
