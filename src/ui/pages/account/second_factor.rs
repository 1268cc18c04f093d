//! One's second factor on `/account`: enrolling it, its recovery codes, removing it.

use crate::domain::refusal::Refusal;
use crate::domain::second_factor::RECOVERY_CODES;
use crate::server::service::accounts::{Enrolling, FactorPage};
use crate::ui::components::form::{code_input, command, error_code, invalid, refused};
use crate::ui::components::qr::qr;
use crate::ui::components::state::{Glyph, Tone, notice};
use crate::ui::components::write;
use chrono::{DateTime, Utc};
use leptos::prelude::*;

/// With so few recovery codes left it is time for new ones.
const FEW_CODES: i64 = 3;

pub fn section(factor: &FactorPage, now: DateTime<Utc>, refusal: Option<&Refusal>) -> AnyView {
    let missing = (factor.required && factor.enrolled_at.is_none()).then(|| {
        let words = view! { <b>"Everybody needs a second factor here: "</b>"without one you can neither start nor approve a flush." };
        notice(Tone::Warn, Glyph::Risk, words)
    });
    let body = match (&factor.enrolling, factor.enrolled_at) {
        (Some(enrolling), _) => finish(enrolling, now, refusal),
        (None, Some(at)) => view! { {codes(factor)}{enrolled(factor, at, now, refusal)} }.into_any(),
        (None, None) => begin(refusal),
    };
    view! {
        <section class="stack" id="second-factor" aria-labelledby="sf">
            <h2 id="sf">"Second factor"</h2>
            {missing}
            {refused(refusal, "Not done.")}
            {body}
        </section>
    }
    .into_any()
}

fn begin(refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="card fields" method="post" action="/account" data-error=error_code(refusal)>
            <p>"An authenticator app on your phone. Whoever has one is asked for its code before a flush starts or is approved, unless it was shown in the last 5 minutes. Signing in stays as it is."</p>
            <div class="field">
                <label for="sf-present">"Your password"</label>
                <input id="sf-present" name="present" type="password" autocomplete="current-password" maxlength="1024" required aria-invalid=invalid(refusal, "present")/>
            </div>
            <button class="btn btn-primary" type="submit" name="do" value="enrol">"Enrol a second factor"</button>
        </form>
    }
    .into_any()
}

fn finish(enrolling: &Enrolling, now: DateTime<Utc>, refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="card fields" method="post" action="/account" data-error=error_code(refusal)>
            <p>"Let your authenticator app read this, then type the code it shows. It counts from then on. It is shown until "{write::time(enrolling.until, now)}", here only, and never again."</p>
            {qr(&enrolling.uri, "The secret for your authenticator app; it stands below as text")}
            <p><a class="btn" href=enrolling.uri.clone()>"Open the app on this device"</a></p>
            <div>
                <p class="hint">"Or type it into the app (time-based, 6 digits):"</p>
                {command(&enrolling.secret)}
            </div>
            <div class="field">
                <label for="sf-code">"Code of the app"</label>
                {code_input("sf-code", refusal)}
            </div>
            <button class="btn btn-primary" type="submit" name="do" value="enrol_confirm">"Confirm"</button>
        </form>
    }
    .into_any()
}

/// Recovery codes, while they are shown.
fn codes(factor: &FactorPage) -> Option<AnyView> {
    (!factor.codes.is_empty()).then(|| {
        view! {
            <form class="card fields" method="post" action="/account">
                {notice(
                    Tone::Warn,
                    Glyph::Lock,
                    view! { <b>"Keep these recovery codes now. "</b>"They are shown for 10 minutes, here only. Each counts once, in the place of a code of your app: print them, or put them where your passwords are, not on the phone." },
                )}
                {command(&factor.codes.join("\n"))}
                <button class="btn btn-primary" type="submit" name="do" value="kept">"I have kept them"</button>
            </form>
        }
        .into_any()
    })
}

fn enrolled(factor: &FactorPage, at: DateTime<Utc>, now: DateTime<Utc>, refusal: Option<&Refusal>) -> AnyView {
    let left = format!("{} of {RECOVERY_CODES} recovery codes left.", factor.codes_left);
    let class = if factor.codes_left <= FEW_CODES { "v-warn" } else { "" };
    let form = |id: &'static str, heading: &'static str, hint: &'static str, action: &'static str| {
        view! {
            <form class="card fields" method="post" action="/account" data-error=error_code(refusal)>
                <h3>{heading}</h3>
                <div class="field">
                    <label for=id>"Code of your app, or a recovery code"</label>
                    {code_input(id, refusal)}
                    <p class="hint">{hint}</p>
                </div>
                <button class="btn" type="submit" name="do" value=action>{heading}</button>
            </form>
        }
    };
    view! {
        <p>"An authenticator app, enrolled "{write::time(at, now)}". "<span class=class>{left}</span></p>
        <div class="pair">
            {form("sf-recovery", "New recovery codes", "The ones before are void from then on.", "recovery")}
            {form("sf-remove", "Remove the second factor", "For a new phone: remove, then enrol again.", "remove")}
        </div>
    }
    .into_any()
}
