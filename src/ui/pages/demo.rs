//! `/demo`: the simulated shop's bugs, each a switch.

use crate::domain::refusal::Refusal;
use crate::server::service::demo::{Demo, Switch};
use crate::ui::components::form::{error_code, of, refused};
use crate::ui::components::key::{code, key};
use crate::ui::components::state::{Glyph, Tone, state};
use crate::ui::components::write;
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &Demo, refusal: Option<&Refusal>) -> AnyView {
    let rows: Vec<AnyView> = model.switches.iter().map(|switch| row(switch, refusal)).collect();
    let on = model.switches.iter().filter(|switch| switch.on).count();
    let sentence = match on {
        0 => "The shop's code is right: every bug is off.".to_owned(),
        1 => "1 bug of the shop is on.".to_owned(),
        on => format!("{on} bugs of the shop are on."),
    };
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1 class="sentence">{sentence}</h1>
                    <p class="under">
                        "The simulated shop reads, writes and invalidates this demo's own Redis and sends its events like any application. Turn a bug off and watch its prefix recover; each turn marks the charts as a release and stands in the audit."
                    </p>
                </div>
            </div>
            {refused(of(refusal, "switch"), "Nothing was turned.")}
            <section class="panel" aria-labelledby="switches">
                <div class="panel-head"><h2 id="switches">"Bugs"</h2></div>
                <div class="scroll" tabindex="0" role="group" aria-labelledby="switches">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"State"</th>
                                <th scope="col">"Bug"</th>
                                <th scope="col">"Shows at"</th>
                                <th scope="col" class="w3">"Service"</th>
                                <th scope="col"><span class="vh">"Turn"</span></th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </section>
        </main>
    }
    .into_any()
}

fn row(switch: &Switch, refusal: Option<&Refusal>) -> AnyView {
    let (tone, shape, word) = if switch.on { (Tone::Bad, Glyph::Out, "on") } else { (Tone::In, Glyph::In, "off") };
    let (turn, verb) = if switch.on { ("off", "Turn off") } else { ("on", "Turn on") };
    let label = format!("{verb}: {}", switch.title);
    let refusal = of(refusal, "switch").filter(|refusal| refusal.typed("switch") == switch.name);
    let place = if switch.shows_at.contains(':') {
        let href = format!("/prefixes/{}?range=1h", write::query(switch.shows_at));
        view! { <a class="q" href=href>{key(switch.shows_at)}</a> }.into_any()
    } else {
        code(switch.shows_at).into_any()
    };
    view! {
        <tr data-switch=switch.name data-on=if switch.on { "true" } else { "false" }>
            <td>{state(tone, shape, word)}</td>
            <td><b>{switch.title}</b><br/><span class="sub">{switch.explanation}</span></td>
            <td>{place}</td>
            <td class="w3">{code(switch.service)}</td>
            <td>
                <form method="post" action="/demo" data-error=error_code(refusal)>
                    <input type="hidden" name="switch" value=switch.name/>
                    <input type="hidden" name="to" value=turn/>
                    <button class="btn btn-sm" type="submit" aria-label=label>{verb}</button>
                </form>
            </td>
        </tr>
    }
    .into_any()
}
