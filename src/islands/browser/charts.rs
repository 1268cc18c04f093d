//! One crosshair over all charts of the page, and drag to zoom. The charts themselves are drawn by the server: here only a line moves, and
//! the figure beside each title shows the values under it.

use super::{all, closest, listen, page};
use std::cell::RefCell;
use std::rc::Rc;
use web_sys::{Document, Element, KeyboardEvent, PointerEvent, UrlSearchParams};

const SVG: &str = "http://www.w3.org/2000/svg";
/// A drag shorter than this is a click.
const DRAG_PX: f64 = 8.0;

#[derive(Default)]
struct Pointer {
    /// Seconds since the epoch that the crosshair stands at.
    at: Option<i64>,
    /// Where a drag began: the chart, its pixel, its second.
    drag: Option<(Element, f64, f64)>,
}

pub fn install(document: &Document) {
    let pointer = Rc::new(RefCell::new(Pointer::default()));
    let (moved, doc) = (Rc::clone(&pointer), document.clone());
    listen(document, "pointermove", move |event: PointerEvent| on_move(&doc, &moved, &event));
    let pressed = Rc::clone(&pointer);
    listen(document, "pointerdown", move |event: PointerEvent| {
        if event.button() == 0
            && event.pointer_type() == "mouse"
            && let Some(chart) = closest(&event, "[data-chart]")
            && let Some(second) = second_at(&chart, &event)
        {
            event.prevent_default();
            pressed.borrow_mut().drag = Some((chart, f64::from(event.client_x()), second));
        }
    });
    let (released, doc) = (Rc::clone(&pointer), document.clone());
    listen(document, "pointerup", move |event: PointerEvent| {
        let drag = released.borrow_mut().drag.take();
        clear(&doc, ".zoom");
        if let Some((chart, start_x, start)) = drag
            && (f64::from(event.client_x()) - start_x).abs() > DRAG_PX
            && let Some(end) = second_at(&chart, &event)
        {
            zoom(start.min(end), start.max(end));
        }
    });
    let (gone, doc) = (Rc::clone(&pointer), document.clone());
    listen(document, "pointerleave", move |_: PointerEvent| leave(&doc, &gone));
    let doc = document.clone();
    listen(document, "keydown", move |event: KeyboardEvent| {
        if event.key() == "Escape" && pointer.borrow_mut().drag.take().is_some() {
            clear(&doc, ".zoom");
        }
    });
}

/// From, step and number of steps of a chart.
fn axis(chart: &Element) -> Option<(f64, f64, f64)> {
    let number = |name: &str| chart.get_attribute(name)?.parse::<f64>().ok();
    let values = chart.get_attribute("data-values")?;
    let steps = u32::try_from(values.split('|').next()?.split(',').count()).ok()?;
    Some((number("data-from")?, number("data-step")?, f64::from(steps)))
}

fn second_at(chart: &Element, event: &PointerEvent) -> Option<f64> {
    let (from, step, steps) = axis(chart)?;
    let place = chart.get_bounding_client_rect();
    let share = ((f64::from(event.client_x()) - place.left()) / place.width()).clamp(0.0, 1.0);
    Some(from + share * step * steps)
}

fn on_move(document: &Document, pointer: &Rc<RefCell<Pointer>>, event: &PointerEvent) {
    if let Some((chart, start_x, _)) = &pointer.borrow().drag {
        let place = chart.get_bounding_client_rect();
        let percent = |x: f64| ((x - place.left()) / place.width() * 100.0).clamp(0.0, 100.0);
        let (a, b) = (percent(*start_x), percent(f64::from(event.client_x())));
        if let Some(shade) = own(document, chart, "rect", "zoom") {
            set(
                &shade,
                &[("x", &format!("{:.2}%", a.min(b))), ("width", &format!("{:.2}%", (a - b).abs())), ("y", "8"), ("height", "142")],
            );
        }
    }
    let Some(chart) = closest(event, "[data-chart]") else {
        leave(document, pointer);
        return;
    };
    let (Some(second), Some((from, step, _))) = (second_at(&chart, event), axis(&chart)) else { return };
    let at = from + ((second - from) / step).floor() * step + step / 2.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    let whole = at as i64;
    if pointer.borrow().at == Some(whole) {
        return;
    }
    pointer.borrow_mut().at = Some(whole);
    for chart in all(document, "[data-chart]") {
        show(document, &chart, at);
    }
}

/// Puts the crosshair of one chart at `second` and its values beside its title.
fn show(document: &Document, chart: &Element, second: f64) {
    let Some((from, step, steps)) = axis(chart) else { return };
    let index = ((second - from) / step).floor();
    let Some(now) = chart.closest("figure").ok().flatten().and_then(|figure| figure.query_selector(".now").ok().flatten()) else { return };
    if index < 0.0 || index >= steps {
        return;
    }
    if let Some(line) = own(document, chart, "line", "cross") {
        let x = format!("{:.2}%", (index + 0.5) / steps * 100.0);
        set(&line, &[("x1", &x), ("x2", &x), ("y1", "8"), ("y2", "150")]);
    }
    if !now.has_attribute("data-rest") {
        let _ = now.set_attribute("data-rest", &now.inner_html());
    }
    let read = |name: &str| chart.get_attribute(name).unwrap_or_default();
    let (names, values, unit) = (read("data-names"), read("data-values"), read("data-unit"));
    let date = js_sys::Date::new(&((from + index * step) * 1_000.0).into());
    let iso = String::from(date.to_iso_string());
    let mut text = iso.get(5..16).unwrap_or("").replace('T', " ");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below a few hundred, checked above")]
    let nth = index as usize;
    for (name, line) in names.split('|').zip(values.split('|')) {
        let value = line.split(',').nth(nth).filter(|value| !value.is_empty());
        text.push_str(" · ");
        if !name.is_empty() {
            text.push_str(name);
            text.push(' ');
        }
        match value {
            Some(value) => {
                text.push_str(value);
                text.push_str(&unit);
            }
            None => text.push_str("no data"),
        }
    }
    now.set_text_content(Some(&text));
}

fn leave(document: &Document, pointer: &Rc<RefCell<Pointer>>) {
    if pointer.borrow_mut().at.take().is_none() {
        return;
    }
    clear(document, ".cross");
    for now in all(document, ".now[data-rest]") {
        if let Some(rest) = now.get_attribute("data-rest") {
            now.set_inner_html(&rest);
        }
        let _ = now.remove_attribute("data-rest");
    }
}

/// The chart's own element of that class, made when first needed.
fn own(document: &Document, chart: &Element, tag: &str, class: &str) -> Option<Element> {
    if let Some(found) = chart.query_selector(&format!(".{class}")).ok().flatten() {
        return Some(found);
    }
    let made = document.create_element_ns(Some(SVG), tag).ok()?;
    let _ = made.set_attribute("class", class);
    chart.append_child(&made).ok()?;
    Some(made)
}

fn set(element: &Element, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        let _ = element.set_attribute(name, value);
    }
}

fn clear(document: &Document, selector: &str) {
    for element in all(document, selector) {
        element.remove();
    }
}

/// Opens the page at another stretch of time: only its address changes.
fn zoom(from: f64, to: f64) {
    let Some((window, _)) = page() else { return };
    let location = window.location();
    let Ok(query) = UrlSearchParams::new_with_str(&location.search().unwrap_or_default()) else { return };
    let iso = |second: f64| String::from(js_sys::Date::new(&(second.floor() * 1_000.0).into()).to_iso_string());
    query.delete("range");
    query.set("from", &iso(from));
    query.set("to", &iso(to.max(from + 60.0)));
    let _ = location.set_search(&String::from(query.to_string()));
}

/// Whether the pointer stands on a chart of this region: it is then left as it is.
pub fn in_use(region: &Element) -> bool {
    region.query_selector(".cross, .zoom").ok().flatten().is_some()
}
