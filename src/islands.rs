//! Every `#[island]`, and why it must run in the browser. Islands add; without them every page still says and does everything.
