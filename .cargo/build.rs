//! Migrations are compiled in: a new file there must build the server anew.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=.cargo/build.rs");
}
