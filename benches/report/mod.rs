//! Where every benchmark puts its figures: a table on stdout, and `target/bench/summary.json`, merged by name over the runs of `make bench`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Adds `figures` to the summary, replacing those of the same name, and prints them as a table of name, figure and goal.
pub fn publish(figures: &[(&str, f64, &str)]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    let path = folder.join("summary.json");
    let mut summary: BTreeMap<String, f64> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    println!("{:<32} {:>12}   goal", "figure", "measured");
    for (name, value, goal) in figures {
        println!("{name:<32} {value:>12.3}   {goal}");
        summary.insert((*name).to_owned(), (value * 1000.0).round() / 1000.0);
    }
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let text = serde_json::to_string_pretty(&summary).expect("numbers by name are JSON");
    std::fs::write(&path, text + "\n").expect("the summary can be written");
}
