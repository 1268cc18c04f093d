//! What the browser has to load, measured at the public door: compressed sizes of wasm and script, and of the whole first page
//! (document, style, script, wasm, icon) as a signed-in operator gets them.
//!
//! Sizes in KiB of 1,024 bytes, as they cross the wire to a browser that accepts brotli and gzip.

mod report;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::header::{ACCEPT_ENCODING, COOKIE, LOCATION, ORIGIN, SET_COOKIE};

/// The demo, ended with the benchmark whatever happens.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut child = Command::new(env!("CARGO_BIN_EXE_stalewatch"))
        .args(["demo", "--json", "--listen", "127.0.0.1:0", "--history", "1", "--data-dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let _demo = Demo(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("the demo says when it is ready");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready line is JSON");
    let url = ready["url"].as_str().expect("the ready line names the address").trim_end_matches('/').to_owned();
    let user = ready["users"].as_array().expect("users").iter().find(|user| user["role"] == "operator").expect("an operator");

    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client");
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("email", user["email"].as_str().expect("email"))
        .append_pair("password", user["password"].as_str().expect("password"))
        .append_pair("next", "/")
        .finish();
    let signed_in = client
        .post(format!("{url}/sign-in"))
        .header(ORIGIN, &url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .expect("sign-in answers");
    assert_eq!(signed_in.status(), 303, "sign-in failed; Location: {:?}", signed_in.headers().get(LOCATION));
    let cookie = signed_in.headers()[SET_COOKIE].to_str().expect("a cookie").split(';').next().expect("name and value").to_owned();

    let fetch = async |path: &str, encodings: &str| {
        let response = client.get(format!("{url}{path}")).header(COOKIE, &cookie).header(ACCEPT_ENCODING, encodings).send().await;
        let response = response.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(response.status(), 200, "{path}");
        response.bytes().await.expect("a whole body")
    };
    let page = String::from_utf8(fetch("/", "identity").await.to_vec()).expect("the page is UTF-8");
    let package = page.split("/pkg/").nth(1).and_then(|rest| rest.split(".css").next()).expect("the page names its style sheet").to_owned();
    assert!(package.starts_with("stalewatch-"), "the files' name is hashed: {package}");

    let mut sizes = Vec::new();
    for path in
        ["/".to_owned(), "/favicon.svg".to_owned()].into_iter().chain([".css", ".js", "_bg.wasm"].map(|end| format!("/pkg/{package}{end}")))
    {
        let size = fetch(&path, "br, gzip").await.len();
        println!("{path:<44} {size:>8} bytes");
        sizes.push((path, size));
    }
    let kib = |ends: &[&str]| {
        let bytes: usize = sizes.iter().filter(|(path, _)| ends.iter().any(|end| path.ends_with(end))).map(|(_, size)| size).sum();
        f64::from(u32::try_from(bytes).expect("a page is smaller than 4 GiB")) / 1024.0
    };
    report::publish(&[
        ("web.wasm_kib", kib(&[".js", "_bg.wasm"]), "<= 100 (wasm and script, compressed)"),
        ("web.first_page_kib", kib(&["/", ".svg", ".css", ".js", "_bg.wasm"]), "<= 180"),
    ]);
}
