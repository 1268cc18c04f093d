//! From numbers to what a chart draws: scales, ticks, paths, end labels, marks. Pure text and numbers, no markup of its own.
//!
//! Curves live in a square of 1000 × 1000 that the page stretches; x of everything else is a share in percent, y is in pixels. A gap breaks
//! a path and is never joined; y starts at zero.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use std::fmt::Write as _;

/// Side of the square that curves are drawn in.
const SIDE: f64 = 1000.0;
/// The width of a lane that marks are laid out for, that of a phone's chart; on a wider one they only come to lie further apart.
const LANE_PX: f64 = 300.0;
/// What one mark takes on its lane: 15 pixels and a gap.
const MARK_PX: f64 = 18.0;

/// The y axis: from zero to `max`, with its ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub max: f64,
    pub ticks: Vec<f64>,
}

impl Scale {
    /// A scale from zero that holds `highest` and the limit, with three to five ticks at round numbers.
    pub fn from_zero(highest: Option<f64>, limit: Option<f64>) -> Self {
        let top = highest.unwrap_or(0.0).max(limit.unwrap_or(0.0) * 1.05);
        if !(top.is_finite() && top > 0.0) {
            return Self { max: 1.0, ticks: vec![0.0, 1.0] };
        }
        let raw = top / 4.0;
        let magnitude = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|nice| nice * magnitude).find(|step| *step >= raw * 0.999).unwrap_or(raw);
        let mut ticks = vec![0.0];
        let mut index = 1u32;
        loop {
            let tick = f64::from(index) * step;
            ticks.push(tick);
            if tick >= top * 0.999 || index > 8 {
                return Self { max: tick, ticks };
            }
            index += 1;
        }
    }

    /// Where a value lies, in pixels from the top of a plot whose data area begins at `top` and is `height` high.
    pub fn y(&self, value: f64, top: f64, height: f64) -> f64 {
        top + height * (1.0 - (value / self.max).clamp(0.0, 1.0))
    }

    fn square(&self, value: f64) -> f64 {
        SIDE * (1.0 - (value / self.max).clamp(0.0, 1.0))
    }
}

/// The middle of step `index` of `count`, 0…1000.
#[expect(clippy::cast_precision_loss, reason = "a chart has at most a few hundred points")]
fn x(index: usize, count: usize) -> f64 {
    (index as f64 + 0.5) * SIDE / count.max(1) as f64
}

/// The share of `at` between `from` and `to` in percent, 0…100; None outside.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a chart's range stay far below 2^52")]
pub fn share(at: DateTime<Utc>, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<f64> {
    let length = (to - from).num_milliseconds();
    (length > 0 && at >= from && at <= to).then(|| (at - from).num_milliseconds() as f64 * 100.0 / length as f64)
}

/// Writes a coordinate with at most one decimal: a tenth of a thousandth of a chart is finer than any screen.
fn put(path: &mut String, command: char, x: f64, y: f64) {
    let _ = write!(path, "{command}{} {}", short(x), short(y));
}

/// A number with at most one decimal, without a trailing `.0`.
pub fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

/// A line through the known values. A lone value between gaps becomes a dot (a stroke of no length with round ends).
pub fn line(values: &[Option<f64>], scale: &Scale) -> String {
    let mut path = String::with_capacity(values.len() * 8);
    for run in runs(values) {
        let lone = run.len() == 1;
        for (nth, index) in run.enumerate() {
            let Some(value) = values[index] else { continue };
            put(&mut path, if nth == 0 { 'M' } else { 'L' }, x(index, values.len()), scale.square(value));
            if lone {
                path.push_str("h0");
            }
        }
    }
    path
}

/// The area between two lines, broken where either is unknown.
pub fn band(low: &[Option<f64>], high: &[Option<f64>], scale: &Scale) -> String {
    let both: Vec<Option<f64>> = low.iter().zip(high).map(|(low, high)| low.and(*high)).collect();
    let mut path = String::new();
    for run in runs(&both) {
        if run.len() < 2 {
            continue;
        }
        for (nth, index) in run.clone().enumerate() {
            put(&mut path, if nth == 0 { 'M' } else { 'L' }, x(index, both.len()), scale.square(high[index].unwrap_or(0.0)));
        }
        for index in run.rev() {
            put(&mut path, 'L', x(index, both.len()), scale.square(low[index].unwrap_or(0.0)));
        }
        path.push('Z');
    }
    path
}

/// The area between the limit and a line where it is over it; crossings are cut where the line crosses.
pub fn excess(values: &[Option<f64>], limit: f64, scale: &Scale) -> String {
    let mut path = String::new();
    let floor = scale.square(limit);
    for run in runs(values) {
        let mut open = false;
        let mut before: Option<(f64, f64)> = None;
        let mut last_x = 0.0;
        for index in run {
            let (here_x, value) = (x(index, values.len()), values[index].unwrap_or(0.0));
            if let Some((before_x, before_value)) = before
                && (before_value > limit) != (value > limit)
            {
                let crossing = before_x + (here_x - before_x) * (limit - before_value) / (value - before_value);
                put(&mut path, if open { 'L' } else { 'M' }, crossing, floor);
                if open {
                    path.push('Z');
                }
                open = !open;
            }
            if value > limit {
                if !open {
                    put(&mut path, 'M', here_x, floor);
                    open = true;
                }
                put(&mut path, 'L', here_x, scale.square(value));
            }
            before = Some((here_x, value));
            last_x = here_x;
        }
        if open {
            put(&mut path, 'L', last_x, floor);
            path.push('Z');
        }
    }
    path
}

/// The stretches of known values.
fn runs(values: &[Option<f64>]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (index, value) in values.iter().enumerate() {
        match (value.is_some_and(f64::is_finite), start) {
            (true, None) => start = Some(index),
            (false, Some(from)) => {
                found.push(from..index);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        found.push(from..values.len());
    }
    found
}

/// A tick of the time axis.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeTick {
    /// Percent from the left.
    pub share: f64,
    pub label: String,
    /// Leaves first where there is little room.
    pub minor: bool,
}

/// Ticks at round hours or days, at most eight; midnight carries its date. Every second one is minor.
pub fn time_ticks(from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<TimeTick> {
    const STEPS_MIN: [i64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 7_200];
    let minutes = (to - from).num_minutes().max(1);
    let step = STEPS_MIN.into_iter().find(|step| minutes / step <= 8).unwrap_or(43_200);
    let step_s = step * 60;
    let mut at = DateTime::from_timestamp((from.timestamp().div_euclid(step_s) + 1) * step_s, 0).unwrap_or(from);
    let mut ticks = Vec::new();
    while at < to && ticks.len() < 12 {
        let midnight = at.hour() == 0 && at.minute() == 0;
        let label = if step >= 1_440 || midnight { at.format("%-d %b") } else { at.format("%H:%M") }.to_string();
        let minor = at.timestamp() / step_s % 2 != 0;
        if let Some(share) = share(at, from, to).filter(|share| (2.5..=97.5).contains(share)) {
            ticks.push(TimeTick { share, label, minor });
        }
        at += TimeDelta::seconds(step_s);
    }
    ticks
}

/// Moves labels apart so that none is closer than `room` to the next, inside `0…bottom`; the order stays as given by y.
pub fn spread(ys: &mut [f64], room: f64, bottom: f64) {
    let mut order: Vec<usize> = (0..ys.len()).collect();
    order.sort_by(|a, b| ys[*a].total_cmp(&ys[*b]));
    for pair in 1..order.len() {
        let above = ys[order[pair - 1]];
        ys[order[pair]] = ys[order[pair]].max(above + room);
    }
    let mut floor = bottom;
    for index in order.into_iter().rev() {
        ys[index] = ys[index].min(floor);
        floor = ys[index] - room;
    }
}

/// How many pixels each mark steps aside from its hairline, so that on a lane of [`LANE_PX`] or more none hides another and none leaves the
/// lane: close ones spread evenly around where they belong. `shares` are percent of the lane, ascending.
pub fn step_aside(shares: &[f64]) -> Vec<i32> {
    let places: Vec<f64> = shares.iter().map(|share| share / 100.0 * LANE_PX).collect();
    let gaps = f64::from(u32::try_from(shares.len().max(2) - 1).unwrap_or(u32::MAX));
    let room = MARK_PX.min(LANE_PX / gaps);
    // Least displacement in order and `room` apart: neighbours that would overlap are pooled around their common middle.
    let mut pools: Vec<(f64, u32)> = Vec::new();
    let mut before = 0.0;
    for place in &places {
        pools.push((place - before, 1));
        before += room;
        while let [.., (left, many), (right, few)] = pools[..]
            && left > right
        {
            pools.truncate(pools.len() - 2);
            pools.push(((left * f64::from(many) + right * f64::from(few)) / f64::from(many + few), many + few));
        }
    }
    let last = before - room;
    let starts = pools.iter().flat_map(|(start, count)| (0..*count).map(move |_| start.clamp(0.0, (LANE_PX - last).max(0.0))));
    let mut shift = 0.0;
    let mut asides = Vec::with_capacity(places.len());
    for (place, start) in places.iter().zip(starts) {
        #[expect(clippy::cast_possible_truncation, reason = "a lane is a few hundred pixels wide")]
        asides.push((start + shift - place).round() as i32);
        shift += room;
    }
    asides
}

/// A sparkline of `width` × `height` pixels with room for its end dot: the line, the dot, the limit's y.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spark {
    pub path: String,
    /// The last known value, drawn as a dot.
    pub dot: Option<(f64, f64)>,
    pub limit_y: Option<f64>,
    /// Whether that last value is over the limit.
    pub over: bool,
}

/// Draws `values` from zero, so that the dashes of the limit lie at the same height in every row unless a value is over it.
#[expect(clippy::cast_precision_loss, reason = "a sparkline has at most 60 points")]
pub fn spark(values: &[Option<f64>], limit: Option<f64>, width: f64, height: f64) -> Spark {
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let top = limit.unwrap_or(0.0).max(highest);
    if values.iter().flatten().next().is_none() {
        return Spark::default();
    }
    let y = |value: f64| {
        let share = if top > 0.0 { value / top } else { 0.0 };
        4.0 + (height - 8.0) * (1.0 - share)
    };
    let step = (width - 5.0) / (values.len().max(2) - 1) as f64;
    let mut path = String::new();
    for run in runs(values) {
        let lone = run.len() == 1;
        for (nth, index) in run.enumerate() {
            put(&mut path, if nth == 0 { 'M' } else { 'L' }, 1.0 + index as f64 * step, y(values[index].unwrap_or(0.0)));
            if lone {
                path.push_str("h.6");
            }
        }
    }
    let last = values.iter().enumerate().rev().find_map(|(index, value)| value.map(|value| (index, value)));
    Spark {
        path,
        dot: last.map(|(index, value)| (1.0 + index as f64 * step, y(value))),
        limit_y: limit.map(y),
        over: limit.zip(last).is_some_and(|(limit, (_, value))| value > limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(max: f64) -> Scale {
        Scale { max, ticks: vec![0.0, max] }
    }

    #[test]
    fn a_scale_starts_at_zero_and_holds_value_and_limit() {
        assert_eq!(Scale::from_zero(Some(0.0226), Some(0.005)).ticks, [0.0, 0.01, 0.02, 0.03]);
        let latency = Scale::from_zero(Some(426.0), Some(400.0));
        assert_eq!((latency.ticks[0], latency.max), (0.0, 600.0));
        assert_eq!(Scale::from_zero(None, None).ticks, [0.0, 1.0]);
    }

    #[test]
    fn a_gap_is_never_joined() {
        let path = line(&[Some(1.0), Some(2.0), None, Some(2.0), Some(1.0)], &scale(2.0));
        assert_eq!(path, "M100 500L300 0M700 0L900 500");
    }

    #[test]
    fn a_lone_value_is_a_dot() {
        assert_eq!(line(&[None, Some(1.0), None], &scale(2.0)), "M500 500h0");
    }

    #[test]
    fn the_excess_is_cut_where_the_line_crosses_the_limit() {
        let path = excess(&[Some(0.0), Some(2.0), Some(0.0)], 1.0, &scale(2.0));
        assert_eq!(path, "M333.3 500L500 0L666.7 500Z");
    }

    #[test]
    fn an_excess_ends_at_a_gap() {
        assert_eq!(excess(&[Some(2.0), None], 1.0, &scale(2.0)), "M250 500L250 0L250 500Z");
    }

    #[test]
    fn a_band_needs_both_of_its_lines() {
        let path = band(&[Some(0.0), Some(0.0), None], &[Some(2.0), Some(2.0), Some(2.0)], &scale(2.0));
        assert_eq!(path, "M166.7 0L500 0L500 1000L166.7 1000Z");
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let mut ys = [100.0, 98.0, 150.0, 149.0];
        spread(&mut ys, 13.0, 150.0);
        let mut sorted = ys;
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 12.999), "{ys:?}");
        assert!(ys.iter().all(|y| *y <= 150.0));
    }

    #[test]
    fn close_marks_step_left_and_right() {
        assert_eq!(step_aside(&[10.0, 50.0, 90.0]), [0, 0, 0]);
        assert_eq!(step_aside(&[50.0, 50.0]), [-9, 9]);
        assert_eq!(step_aside(&[50.0, 50.0, 50.0]), [-18, 0, 18]);
    }

    #[test]
    fn marks_stay_on_their_lane_and_apart_however_many_there_are() {
        for shares in [vec![99.0; 9], vec![0.5; 9], vec![50.0; 200], (0..30).map(|i| 60.0 + f64::from(i)).collect::<Vec<_>>(), vec![]] {
            let places: Vec<f64> =
                shares.iter().zip(step_aside(&shares)).map(|(share, aside)| share / 100.0 * LANE_PX + f64::from(aside)).collect();
            let room = MARK_PX.min(LANE_PX / f64::from(u32::try_from(shares.len().max(2) - 1).unwrap()));
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= room - 1.001), "{places:?}");
            assert!(places.iter().all(|place| (-0.501..=LANE_PX + 0.501).contains(place)), "{places:?}");
        }
    }

    #[test]
    fn midnight_carries_its_date() {
        let from = DateTime::parse_from_rfc3339("2026-11-22T03:14:00Z").unwrap().with_timezone(&Utc);
        let ticks = time_ticks(from, from + TimeDelta::hours(24));
        let labels: Vec<_> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "23 Nov"]);
        assert!(ticks.iter().any(|tick| !tick.minor) && ticks.iter().any(|tick| tick.minor));
    }

    #[test]
    fn a_sparkline_without_data_draws_nothing() {
        assert_eq!(spark(&[None, None], Some(1.0), 58.0, 22.0), Spark::default());
    }
}
