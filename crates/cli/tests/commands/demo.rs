//! A complete run of the demo.

use crate::run::run;

#[test]
fn the_demo_proves_that_both_registries_are_equal() {
    let told = run(&["demo"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(told.out.matches("equal byte for byte").count(), 4, "{told:?}");
    assert!(told.out.contains("sha256:"), "{told:?}");
    assert_eq!(told.err, "");
}

#[test]
fn the_demo_tells_scripts_what_it_moved() {
    let told = run(&["demo", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let summary = told.json();
    let steps = summary["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["push", "sign", "update", "repeat"]);
    let moved = |step: usize, what: &str| steps[step]["moved"][what].as_u64().unwrap();
    assert!(moved(0, "bytes_sent") > 16 << 20, "{summary}");
    assert_eq!((moved(1, "manifests"), moved(2, "manifests")), (2, 5), "{summary}");
    assert!(moved(2, "bytes_sent") < 3 << 20, "the base is sent again: {summary}");
    assert_eq!((moved(3, "bytes_sent"), moved(3, "manifests")), (0, 0), "{summary}");
    assert_eq!(steps[3]["digest"], summary["digest"]);
    assert!(steps.iter().all(|step| step["proof"]["blobs"].as_u64() > Some(0)));
}
