//! What every page keeps to, checked on the samples; each page is written to `target/pages/` to be looked at.

use super::samples::*;
use super::*;
use crate::domain::refusal::Refusal;
use crate::ui::components::frame::{Nav, body};
use crate::ui::shell::fragment;
use leptos::prelude::AnyView;
use scraper::{Html, Selector};

fn draw(name: &str, nav: Nav, main: impl FnOnce() -> AnyView) -> Html {
    let html = fragment(|| body(&frame(nav), main()));
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{name}</title>\
         <link rel=\"stylesheet\" href=\"../../style/main.css\"></head><body>{html}</body></html>"
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/pages");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/{name}.html"), &page).unwrap();
    Html::parse_document(&page)
}

fn all<'a>(page: &'a Html, selector: &str) -> Vec<scraper::ElementRef<'a>> {
    let selector = Selector::parse(selector).unwrap();
    page.select(&selector).collect()
}

fn text(page: &Html, selector: &str) -> String {
    all(page, selector).iter().flat_map(scraper::ElementRef::text).collect()
}

const FLUSH_STATES: [&str; 14] = [
    "planning",
    "plan_failed",
    "planned",
    "expired",
    "awaiting_approval",
    "approved",
    "rejected",
    "starting",
    "running",
    "verifying",
    "completed",
    "completed_with_residue",
    "interrupted",
    "cancelled",
];

fn every_page() -> Vec<(String, Html)> {
    let mut pages = vec![
        ("overview".to_owned(), draw("overview", Nav::Overview, || overview::main(&overview(), &overview::Filter::default()))),
        ("prefix".to_owned(), draw("prefix", Nav::None, || prefix::main(&prefix(), "", true))),
        ("numbers".to_owned(), draw("numbers", Nav::None, || prefix::main(&prefix(), "stale", false))),
        (
            "plan".to_owned(),
            draw("plan", Nav::Flush, || {
                flush::plan_main(
                    &plan_page(),
                    None,
                    &flush::PlanWanted { target: "main", scope: "cart:{id}", ..flush::PlanWanted::default() },
                )
            }),
        ),
        ("soft".to_owned(), draw("flush_soft", Nav::Flush, || flush::main(&other_mode_page("soft"), None, ""))),
        ("version".to_owned(), draw("flush_version", Nav::Flush, || flush::main(&other_mode_page("version"), None, ""))),
        ("audit".to_owned(), draw("audit", Nav::Audit, || audit::main(&audit(), true))),
        ("contracts".to_owned(), draw("contracts", Nav::Contracts, || contracts::main(&contracts(), "range=24h"))),
        ("review".to_owned(), draw("review", Nav::Review, || review::main(&review(), true, None, ""))),
        (
            "first_run".to_owned(),
            draw("first_run", Nav::Overview, || {
                let model = crate::server::service::overview::Overview { any_events: false, rows: vec![], ..overview() };
                overview::main(&model, &overview::Filter::default())
            }),
        ),
    ];
    for stands in ["none", "enrolling", "enrolled"] {
        let name = format!("account_{stands}");
        pages.push((name.clone(), draw(&name, Nav::Account, || account::main(&account(stands), None))));
    }
    for state in FLUSH_STATES {
        pages.push((state.to_owned(), draw(&format!("flush_{state}"), Nav::Flush, || flush::main(&flush(state), None, ""))));
    }
    pages
}

#[test]
fn no_form_island_or_focus_stands_in_a_live_region() {
    for (name, page) in every_page() {
        for inside in ["form", "input", "button", "leptos-island", "[autofocus]"] {
            assert!(all(&page, &format!("[data-live] {inside}")).is_empty(), "{name} has {inside} in a live region");
        }
    }
}

#[test]
fn no_page_has_an_inline_style_or_script_or_a_doubled_id() {
    for (name, page) in every_page() {
        assert!(all(&page, "[style]").is_empty(), "{name}: the policy refuses inline styles");
        assert!(all(&page, "[onclick], a[href^='javascript:']").is_empty(), "{name}");
        let mut ids: Vec<&str> = all(&page, "[id]").iter().filter_map(|element| element.value().id()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}: an id stands twice");
        assert_eq!(all(&page, "main#main").len(), 1, "{name}");
        assert_eq!(all(&page, "h1").len(), 1, "{name}");
    }
}

#[test]
fn the_sentence_says_what_is_outside_first() {
    let page = draw("overview", Nav::Overview, || overview::main(&overview(), &overview::Filter::default()));
    let sentence = text(&page, "h1");
    assert!(
        sentence.starts_with("2 of 7 prefixes are outside their threshold: user:{id}:summary stale reads 1.82 % at 10 s since 02:31"),
        "{sentence}"
    );
    let names: Vec<String> = all(&page, "tbody th .key").iter().map(|key| key.text().collect()).collect();
    assert_eq!(names[0], "user:{id}:summary");
    assert_eq!(names[names.len() - 2..], ["unclassified", "overflow"]);
}

#[test]
fn only_a_flush_says_that_keys_were_removed() {
    for (mode, head) in [("soft", "Let 8,118 keys expire within 10 min"), ("version", "Raised the generation to 42")] {
        let page = draw(mode, Nav::Flush, || flush::main(&other_mode_page(mode), None, ""));
        assert!(text(&page, ".quiet.next").starts_with(head), "{mode}: {}", text(&page, ".quiet.next"));
        let labels: Vec<String> = all(&page, ".facts dt").iter().map(|term| term.text().collect()).collect();
        assert!(!labels.iter().any(|label| label.contains("Removed")), "{mode}: {labels:?}");
    }
    let soft = draw("soft", Nav::Flush, || flush::main(&other_mode_page("soft"), None, ""));
    assert!(text(&soft, ".facts").contains("of 1,000 sampled"), "{}", text(&soft, ".facts"));
}

#[test]
fn too_little_data_is_never_green() {
    let page = draw("overview", Nav::Overview, || overview::main(&overview(), &overview::Filter::default()));
    let row = all(&page, "tbody tr").into_iter().find(|row| row.text().collect::<String>().contains("billing")).unwrap();
    let html = row.html();
    assert!(html.contains("st-few") && !html.contains("st-good") && html.contains("0 of 21"), "{html}");
}

#[test]
fn a_planned_flush_asks_for_what_it_shows() {
    let page = draw("flush_planned", Nav::Flush, || flush::main(&flush("planned"), None, ""));
    for name in ["typed_target", "typed_scope", "typed_count", "reason", "incident"] {
        assert_eq!(all(&page, &format!("form.danger [name={name}]")).len(), 1, "{name}");
    }
    let main = all(&page, "main")[0].value();
    assert_eq!(
        (main.attr("data-state"), main.attr("data-planned"), main.attr("data-removed"), main.attr("data-wide")),
        (Some("planned"), Some("8214"), Some(""), Some("true"))
    );
    assert!(text(&page, ".btn-danger").contains("Remove 8,214 keys under user:{id}:summary"));
}

#[test]
fn who_cannot_confirm_finds_a_sentence_and_no_form() {
    let mut model = flush("planned");
    model.can.confirm = false;
    let page = draw("flush_planned_other", Nav::Flush, || flush::main(&model, None, ""));
    assert!(all(&page, "form.danger").is_empty());
    assert!(text(&page, ".notice").contains("confirmed by the person who made it"));
}

#[test]
fn a_refused_form_keeps_what_was_typed() {
    let refusal = Refusal {
        form: "confirm",
        code: "count_mismatch".into(),
        detail: "You typed 8124, the plan says 8,214.".into(),
        field: Some("typed_count"),
        typed: [("typed_count", "8124"), ("reason", "a \"quoted\" <reason>")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let page = draw("flush_refused", Nav::Flush, || flush::main(&flush("planned"), Some(&refusal), ""));
    assert_eq!(all(&page, "form[data-error=count_mismatch]").len(), 1);
    assert_eq!(all(&page, "[name=typed_count]")[0].value().attr("value"), Some("8124"));
    assert_eq!(text(&page, "textarea").trim(), "a \"quoted\" <reason>");
    assert_eq!(all(&page, "[name=typed_count][aria-invalid=true]").len(), 1);
}

#[test]
fn a_flush_at_work_refreshes_itself_without_scripts_and_can_be_cancelled() {
    let page = fragment(|| flush::main(&flush("running"), None, ""));
    assert!(page.contains(r#"<meta http-equiv="refresh" content="2">"#), "{page}");
    assert!(page.contains(r#"value="cancel""#));
    assert!(!fragment(|| flush::main(&flush("planned"), None, "")).contains("http-equiv"));
}

#[test]
fn a_marks_link_from_an_event_cannot_run_a_script() {
    let page = fragment(|| overview::main(&overview(), &overview::Filter::default()));
    assert!(!page.contains("javascript:") && !page.contains("4.18.2 <b>"), "a mark's text and link are data");
    assert!(page.contains("https://ci.example.com/1"));
}

#[test]
fn a_live_region_carries_the_version_of_what_it_shows() {
    let model = overview();
    let piece = fragment(|| overview::head(&model));
    let page = draw("overview", Nav::Overview, || overview::main(&model, &overview::Filter::default()));
    let region = all(&page, "main [data-live]")[0].value();
    assert_eq!(region.attr("data-version"), Some(crate::ui::components::frame::version(&piece).as_str()));
}
