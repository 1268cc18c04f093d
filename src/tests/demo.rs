//! `/demo`: the shop's switches.

use crate::shop::open_shop;
use crate::support::{TestApp, TestRedis, attribute};
use reqwest::StatusCode;
use stalewatch::domain::operator::Role;
use stalewatch::server::demo::shop::Bug;
use std::sync::Arc;

const LATE_FILL: &str = "[data-switch=late_fill]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_turns_a_bug_off_and_on_and_each_turn_is_recorded_once() {
    let (test, redis) = (TestApp::start().await, TestRedis::new().await);
    let shop = Arc::new(open_shop(&test, &redis, &Bug::ALL).await);
    assert!(test.app.shop.set(shop.clone()).is_ok());
    let admin = test.signed_in(Role::Admin).await;
    let on = async || attribute(&admin.page("/demo").await, LATE_FILL, "data-on");
    assert_eq!(on().await.as_deref(), Some("true"));
    for _ in 0..2 {
        let answer = admin.post("/demo", &[("switch", "late_fill"), ("to", "off")]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/demo"));
    }
    assert!(!shop.is_on(Bug::LateFill) && shop.is_on(Bug::SharedTtl));
    assert_eq!(on().await.as_deref(), Some("false"));
    assert_eq!(test.audit_codes().await.iter().filter(|code| *code == "demo.switched").count(), 1, "turned twice, changed once");
    admin.post("/demo", &[("switch", "late_fill"), ("to", "on")]).await;
    assert!(shop.is_on(Bug::LateFill));

    let answer = admin.post("/demo", &[("switch", "no_such"), ("to", "off")]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = admin.post("/demo", &[("switch", "late_fill"), ("to", "")]).await;
    assert_eq!((answer.status, answer.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("unknown_position")));
    shop.close().await;
}

#[tokio::test]
async fn only_an_admin_reaches_the_switches_and_only_where_there_is_a_shop() {
    let test = TestApp::start().await;
    let operator = test.signed_in(Role::Operator).await;
    assert_eq!(operator.get("/demo").await.status, StatusCode::FORBIDDEN);
    assert_eq!(operator.post("/demo", &[("switch", "late_fill"), ("to", "off")]).await.status, StatusCode::FORBIDDEN);
    let admin = test.signed_in(Role::Admin).await;
    assert_eq!(admin.get("/demo").await.status, StatusCode::NOT_FOUND);
    assert_eq!(admin.post("/demo", &[("switch", "late_fill"), ("to", "off")]).await.status, StatusCode::NOT_FOUND);
    assert!(!test.audit_codes().await.contains(&"demo.switched".to_owned()));
}
