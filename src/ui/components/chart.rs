//! A chart as a figure: y labels | data | end labels, marks on a lane of their own below. Drawn as text, since an SVG of three hundred points
//! is no place for a view a node. x in percent, y in pixels, so that text and hairlines never scale; the curves sit in a stretched square.
//!
//! Back to front: grid, gaps, hairlines of marks, band, excess, lines, limit, ticks. The data SVG carries its numbers as data attributes for
//! the shared crosshair; "Numbers" leads to the same as a table.

use crate::domain::chart::{Scale, band, excess, line, share, short, spread, step_aside, time_ticks};
use crate::server::service::figures::{Gap, Mark, MarkKind, Series};
use crate::ui::components::write::{self, escape};
use chrono::{DateTime, TimeDelta, Utc};
use leptos::prelude::*;
use std::fmt::Write as _;

const TOP: f64 = 8.0;
const HEIGHT: f64 = 142.0;
const BOTTOM: f64 = TOP + HEIGHT;

/// How a chart's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Shares 0…1, drawn in percent.
    Percent,
    Millis,
    Amount,
}

impl Format {
    fn factor(self) -> f64 {
        if self == Format::Percent { 100.0 } else { 1.0 }
    }

    fn tick(self, value: f64) -> String {
        let text = format!("{:.3}", value * self.factor());
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        if self == Format::Percent { format!("{text} %") } else { text }
    }

    pub fn value(self, value: f64) -> String {
        match self {
            Format::Percent => write::percent(value),
            Format::Millis => write::millis(value),
            Format::Amount => write::amount(value),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Format::Percent => " %",
            Format::Millis => " ms",
            Format::Amount => "",
        }
    }
}

/// One curve. `class` is `l1` (the measured one), `l2` or `l3`.
pub struct Line<'a> {
    pub name: &'a str,
    pub class: &'static str,
    pub series: &'a Series,
}

/// What a chart is given.
pub struct Chart<'a> {
    /// Anchor on the page and name in `?numbers=`.
    pub id: &'static str,
    pub title: String,
    /// `% of samples, 95 % interval`
    pub unit: &'static str,
    /// The figure at the right of the title.
    pub now: AnyView,
    /// One sentence of result, for those who do not see the drawing.
    pub label: String,
    pub format: Format,
    /// Back to front; the limit applies to the one of class `l1`.
    pub lines: Vec<Line<'a>>,
    /// Shade between `low` and `high` of the measured line's points.
    pub with_interval: bool,
    /// Shade between the lines of class `l2` and `l1`.
    pub shade_l2_to_l1: bool,
    pub limit: Option<f64>,
    pub marks: &'a [Mark],
    pub gaps: &'a [Gap],
    /// This page's address with `numbers=` set for this chart, and whether it is.
    pub numbers: Option<(String, bool)>,
}

/// The figure.
pub fn figure(chart: Chart<'_>) -> AnyView {
    let plot = plot(&chart);
    let numbers = chart.numbers.as_ref().map(|(href, open)| {
        if *open {
            numbers_table(&chart)
        } else {
            view! { <p class="no-print numbers"><a href=href.clone() aria-label=format!("Numbers: {}", chart.title)>"Numbers"</a></p> }
                .into_any()
        }
    });
    view! {
        <figure class="chart" id=chart.id>
            <figcaption><h2>{chart.title}</h2><span class="unit">{chart.unit}</span><span class="now">{chart.now}</span></figcaption>
            <div class="plot" inner_html=plot></div>
            {numbers}
        </figure>
    }
    .into_any()
}

fn values(series: &Series) -> Vec<Option<f64>> {
    series.points.iter().map(|point| point.value).collect()
}

#[expect(clippy::cast_possible_wrap, reason = "a chart has at most a few hundred points")]
fn end_of(series: &Series) -> DateTime<Utc> {
    series.from + TimeDelta::seconds(series.step_s * series.points.len() as i64)
}

/// The three cells and the lane of marks, as markup.
fn plot(chart: &Chart<'_>) -> String {
    let Some(main) = chart.lines.iter().find(|line| line.class == "l1").or(chart.lines.last()) else { return String::new() };
    let (from, to) = (main.series.from, end_of(main.series));
    let highest = chart
        .lines
        .iter()
        .flat_map(|line| line.series.points.iter())
        .flat_map(|point| [point.value, if chart.with_interval { point.high.filter(|_| point.n >= write::FEW) } else { None }])
        .flatten()
        .fold(None, |top: Option<f64>, value| Some(top.map_or(value, |top| top.max(value))));
    let scale = Scale::from_zero(highest, chart.limit);
    let mut left = String::new();
    let mut data = String::new();
    let mut right = String::new();

    for (index, tick) in scale.ticks.iter().enumerate() {
        let y = scale.y(*tick, TOP, HEIGHT).floor() + 0.5;
        let _ = write!(data, r#"<line class="{}" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#, if index == 0 { "base" } else { "grid" });
        let _ = write!(left, r#"<text x="32" y="{}" text-anchor="end">{}</text>"#, short(y + 3.5), chart.format.tick(*tick));
    }
    for gap in chart.gaps {
        let (Some(start), Some(end)) = (share(gap.from.max(from), from, to), share(gap.to.min(to), from, to)) else { continue };
        let width = (end - start).max(0.2);
        let _ = write!(
            data,
            r#"<g class="gap"><rect x="{start:.2}%" width="{width:.2}%" y="{TOP}" height="{HEIGHT}"><title>{}</title></rect>"#,
            escape(&gap.why)
        );
        if width > 5.0 {
            let _ = write!(
                data,
                r#"<text x="{:.2}%" y="22" text-anchor="middle"><tspan class="tick-b">no data</tspan></text>"#,
                start + width / 2.0
            );
        }
        data.push_str("</g>");
    }
    let marks: Vec<(f64, &Mark)> = shown_marks(chart.marks, from, to);
    for (at, _) in &marks {
        let _ = write!(data, r#"<line class="mark-line" x1="{at:.2}%" x2="{at:.2}%" y1="{TOP}" y2="{BOTTOM}"/>"#);
    }

    let _ =
        write!(data, r#"<svg class="curve" y="{TOP}" width="100%" height="{HEIGHT}" viewBox="0 0 1000 1000" preserveAspectRatio="none">"#);
    if chart.with_interval {
        let known = |of: fn(&crate::server::service::figures::Point) -> Option<f64>| -> Vec<Option<f64>> {
            main.series.points.iter().map(|point| of(point).filter(|_| point.value.is_some() && point.n >= write::FEW)).collect()
        };
        push_path(&mut data, "band", &band(&known(|point| point.low), &known(|point| point.high), &scale), "");
    }
    if chart.shade_l2_to_l1
        && let Some(lower) = chart.lines.iter().find(|line| line.class == "l2")
    {
        push_path(&mut data, "band", &band(&values(lower.series), &values(main.series), &scale), "");
    }
    let measured = values(main.series);
    if let Some(limit) = chart.limit {
        push_path(&mut data, "excess", &excess(&measured, limit, &scale), "");
    }
    for each in &chart.lines {
        push_path(&mut data, each.class, &line(&values(each.series), &scale), "");
    }
    if let Some(limit) = chart.limit.filter(|limit| measured.iter().flatten().any(|value| value > limit)) {
        let clip = format!("clip-{}", chart.id);
        let _ = write!(
            data,
            r#"<clipPath id="{clip}"><rect x="0" y="-20" width="1000" height="{}"/></clipPath>"#,
            short(20.0 + 1_000.0 * (1.0 - limit / scale.max))
        );
        push_path(&mut data, "over", &line(&measured, &scale), &format!(r#" clip-path="url(#{clip})""#));
    }
    data.push_str("</svg>");

    let mut labels: Vec<(f64, &'static str, String)> = Vec::new();
    if let Some(limit) = chart.limit {
        let y = scale.y(limit, TOP, HEIGHT).floor() + 0.5;
        let _ = write!(data, r#"<line class="lim-line" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#);
        labels.push((y, "lim-label", format!("limit {}", chart.format.tick(limit))));
    }
    for each in &chart.lines {
        // What lies well behind the right edge is not "now": a label there would tie it to the wrong end.
        let tail = each.series.points.len().saturating_sub(each.series.points.len() / 8 + 2);
        let Some(value) = each.series.points[tail..].iter().rev().find_map(|point| point.value) else { continue };
        let class = match each.class {
            "l1" if chart.limit.is_some_and(|limit| value > limit) => "e-bad",
            "l1" => "e1",
            "l2" => "e2",
            _ => "e3",
        };
        let text = if each.name.is_empty() { chart.format.value(value) } else { format!("{} {}", each.name, chart.format.value(value)) };
        labels.push((scale.y(value, TOP, HEIGHT), class, text));
    }
    let mut ys: Vec<f64> = labels.iter().map(|(y, ..)| *y).collect();
    spread(&mut ys, 13.0, BOTTOM);
    for ((_, class, text), y) in labels.iter().zip(ys) {
        let _ = write!(right, r#"<text class="{class}" x="7" y="{}">{}</text>"#, short(y + 3.5), escape(text));
    }
    push_time_ticks(&mut data, from, to, BOTTOM, 165.0);

    let lane = marks_lane(&marks);
    format!(
        r#"<svg width="38" height="170" aria-hidden="true">{left}</svg><svg class="data" width="100%" height="170" role="img" aria-label="{}"{}>{data}</svg><svg width="84" height="170" aria-hidden="true">{right}</svg>{lane}"#,
        escape(&chart.label),
        crosshair_data(chart, from)
    )
}

fn push_path(into: &mut String, class: &str, path: &str, more: &str) {
    if !path.is_empty() {
        let _ = write!(into, r#"<path class="{class}"{more} d="{path}"/>"#);
    }
}

fn push_time_ticks(into: &mut String, from: DateTime<Utc>, to: DateTime<Utc>, base: f64, text_y: f64) {
    for tick in time_ticks(from, to) {
        let class = if tick.minor { r#" class="tick-b""# } else { "" };
        let _ = write!(
            into,
            r#"<text{class} x="{0:.2}%" y="{text_y}" text-anchor="middle">{1}</text><line class="base" x1="{0:.2}%" x2="{0:.2}%" y1="{base}" y2="{2}"/>"#,
            tick.share,
            tick.label,
            base + 3.0
        );
    }
}

/// The numbers for the crosshair: names and values of every line, in the chart's unit.
fn crosshair_data(chart: &Chart<'_>, from: DateTime<Utc>) -> String {
    let step = chart.lines[0].series.step_s;
    let mut names = String::new();
    let mut numbers = String::new();
    for (index, each) in chart.lines.iter().rev().enumerate() {
        if index > 0 {
            names.push('|');
            numbers.push('|');
        }
        names.push_str(each.name);
        for (nth, point) in each.series.points.iter().enumerate() {
            if nth > 0 {
                numbers.push(',');
            }
            if let Some(value) = point.value {
                let value = value * chart.format.factor();
                let _ = if value.abs() >= 100.0 { write!(numbers, "{value:.0}") } else { write!(numbers, "{}", trimmed(value)) };
            }
        }
    }
    format!(
        r#" data-chart data-from="{}" data-step="{step}" data-unit="{}" data-names="{}" data-values="{numbers}""#,
        from.timestamp(),
        chart.format.unit(),
        escape(&names)
    )
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn shown_marks(marks: &[Mark], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(f64, &Mark)> {
    let mut shown: Vec<(f64, &Mark)> = marks.iter().filter_map(|mark| share(mark.at, from, to).map(|at| (at, mark))).collect();
    shown.sort_by(|a, b| a.0.total_cmp(&b.0));
    shown
}

fn letter(kind: MarkKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        MarkKind::Deploy => ("mark-deploy", "D", "Deploy"),
        MarkKind::Flush => ("mark-flush", "F", "Flush"),
        MarkKind::Incident => ("mark-inc", "I", "Incident"),
        MarkKind::Config => ("mark-deploy", "C", "Configuration"),
        MarkKind::Note => ("mark-deploy", "N", "Note"),
    }
}

/// Only our own paths and http(s) may be linked: a mark's link comes from an event.
fn safe_href(mark: &Mark) -> Option<&str> {
    mark.href
        .as_deref()
        .filter(|href| (href.starts_with('/') && !href.starts_with("//")) || href.starts_with("https://") || href.starts_with("http://"))
}

fn mark_box(at: f64, aside: i32, mark: &Mark, y: f64, box_y: f64) -> String {
    let (class, letter, word) = letter(mark.kind);
    let title = escape(&format!("{word} {}, {}", mark.label, mark.at.format("%a %-d %b %H:%M")));
    let shape = format!(
        r#"<title>{title}</title><rect class="hit" x="{}" y="-2" width="16" height="24"/><rect x="{}" y="{box_y}" width="15" height="15" rx="2"/><text x="{aside}" y="{}" text-anchor="middle" aria-hidden="true">{letter}</text>"#,
        aside - 8,
        f64::from(aside) - 7.5,
        box_y + 11.0
    );
    let inner = match safe_href(mark) {
        Some(href) => format!(r#"<a href="{}">{shape}</a>"#, escape(href)),
        None => format!("<g>{shape}</g>"),
    };
    format!(r#"<svg class="mark {class}" x="{at:.2}%" y="{y}" overflow="visible">{inner}</svg>"#)
}

fn marks_lane(marks: &[(f64, &Mark)]) -> String {
    if marks.is_empty() {
        return String::new();
    }
    let aside = step_aside(&marks.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    let boxes: String = marks.iter().zip(aside).map(|((at, mark), aside)| mark_box(*at, aside, mark, 0.0, 2.5)).collect();
    format!(r#"<span></span><svg class="marks" width="100%" height="22" role="group" aria-label="Marks">{boxes}</svg><span></span>"#)
}

fn numbers_table(chart: &Chart<'_>) -> AnyView {
    let Some(first) = chart.lines.first() else { return ().into_any() };
    let heads: Vec<AnyView> = chart
        .lines
        .iter()
        .rev()
        .map(|line| {
            let name = if line.name.is_empty() { "value" } else { line.name }.to_owned();
            view! { <th scope="col" class="num">{name}</th> }.into_any()
        })
        .collect();
    let with_n = first.series.points.iter().any(|point| point.n > 0);
    let with_interval = chart.with_interval;
    let rows: Vec<AnyView> = (0..first.series.points.len())
        .rev()
        .map(|index| {
            let at = first.series.from + TimeDelta::seconds(first.series.step_s * i64::try_from(index).unwrap_or(0));
            let cells: Vec<AnyView> = chart
                .lines
                .iter()
                .rev()
                .map(|line| {
                    let value = line.series.points.get(index).and_then(|point| point.value);
                    let text = value.map_or_else(|| "no data".to_owned(), |value| chart.format.value(value));
                    view! { <td class="num">{text}</td> }.into_any()
                })
                .collect();
            let point = first.series.points[index];
            let n = with_n.then(|| view! { <td class="num quiet">{write::count(point.n)}</td> });
            let interval = with_interval.then(|| {
                let text = point.low.zip(point.high).map_or_else(|| write::NONE.to_owned(), write::interval);
                view! { <td class="num quiet">{text}</td> }
            });
            view! { <tr><th scope="row">{at.format("%a %-d %b %H:%M").to_string()}</th>{cells}{n}{interval}</tr> }.into_any()
        })
        .collect();
    let step = write::span(TimeDelta::seconds(first.series.step_s));
    view! {
        <details open class="no-print">
            <summary>"Numbers"</summary>
            <div class="scroll tall" tabindex="0" role="region" aria-label=format!("{}: numbers", chart.title)>
                <table>
                    <caption class="vh">{chart.title.clone()}</caption>
                    <thead>
                        <tr>
                            <th scope="col">{format!("{step} from, UTC")}</th>
                            {heads}
                            {with_n.then(|| view! { <th scope="col" class="num">"n"</th> })}
                            {with_interval.then(|| view! { <th scope="col" class="num">"95 % interval, %"</th> })}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </details>
    }
    .into_any()
}

/// The lane "What changed": deploys, flushes, incidents and gaps over the page's range.
pub fn lane(marks: &[Mark], gaps: &[Gap], from: DateTime<Utc>, to: DateTime<Utc>) -> AnyView {
    let mut inner = String::from(r#"<line class="base" x1="0" x2="100%" y1="22.5" y2="22.5"/>"#);
    for gap in gaps {
        let (Some(start), Some(end)) = (share(gap.from.max(from), from, to), share(gap.to.min(to), from, to)) else { continue };
        let _ = write!(
            inner,
            r#"<g class="gap"><rect x="{start:.2}%" width="{:.2}%" y="15" height="15"><title>No data: {}</title></rect></g>"#,
            (end - start).max(0.2),
            escape(&gap.why)
        );
    }
    push_time_ticks(&mut inner, from, to, 19.5, 44.0);
    let shown = shown_marks(marks, from, to);
    let shares: Vec<f64> = shown.iter().map(|(at, _)| *at).collect();
    let mut label_free_from = 0.0;
    for ((at, mark), aside) in shown.iter().zip(step_aside(&shares)) {
        inner.push_str(&mark_box(*at, aside, mark, 9.0, 6.0));
        // A label needs about a fifth of the lane; where the next would lie over the last it is left to the mark's title.
        let room = 12.0;
        if *at >= label_free_from && *at < 99.0 {
            let (anchor, dx) = if *at > 85.0 { ("end", 7) } else { ("start", -7) };
            let _ = write!(
                inner,
                r#"<text class="lane-l" x="{at:.2}%" dx="{dx}" y="8" text-anchor="{anchor}">{}</text>"#,
                escape(&clipped(&mark.label, 30))
            );
            label_free_from = at + room;
        }
    }
    view! {
        <section class="panel lane-box" aria-label="What changed">
            <div class="lane">
                <h2 class="sub">"What changed"</h2>
                <svg width="100%" height="48" role="group" aria-label="Deploys, flushes, incidents and gaps" inner_html=inner></svg>
            </div>
        </section>
    }
    .into_any()
}

fn clipped(text: &str, length: usize) -> String {
    if text.chars().count() <= length { text.to_owned() } else { text.chars().take(length - 1).chain(['…']).collect() }
}

/// What the letters mean, once under a page's charts.
pub fn marks_key() -> AnyView {
    view! {
        <p class="marks-key">
            <span><b>"D"</b>"deploy"</span>
            <span><b class="f">"F"</b>"flush"</span>
            <span><b class="i">"I"</b>"incident"</span>
            <span>"hatched: no data, never joined"</span>
        </p>
    }
    .into_any()
}
