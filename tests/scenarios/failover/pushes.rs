//! A push that is in progress while clients are led to another site.

use transship_testkit::name_server::Product;
use transship_tests::Image;
use transship_tests::failover::{Pulled, Stage};

#[test]
fn a_push_in_progress_fails_or_arrives_whole_and_is_reported() {
    if Stage::skipped() {
        return;
    }
    let mut stage = Stage::start(Product::Bind, "15m");
    let client = stage.client();
    let first = Image::single(1, &[1500]);
    client.push(&first, "core/app", "v1").unwrap();
    stage.write_document();
    assert_eq!(stage.run(&["run", "core", "--wait"]).code, 0);
    stage.json(&["dr", "check", "main"]);
    stage.serve.start_again();

    // The connection to the old site stays open, in the middle of a layer.
    let large = Image::single(2, &[3_000_000, 500]);
    stage.front.hold_after(1_000_000);
    let pushing = {
        let (client, large) = (client.clone(), large.clone());
        std::thread::spawn(move || client.push(&large, "core/app", "large"))
    };
    stage.front.await_held();
    let flipped = stage.json(&["dr", "flip", "main", "--to", "b"]);
    assert_eq!(flipped["writer"], "b", "{flipped}");
    stage.front.release();
    let pushed = pushing.join().unwrap();

    let found = ["a", "b"].map(|site| stage.digest_at(site, "core/app", "large"));
    let wanted = Some(large.root().digest.clone());
    match (&pushed, found) {
        (Ok(()), [at_a, None]) if at_a == wanted => {
            // Nothing prevents it. It is named, and not lost on the way back.
            stage.assert_arrives("a", &large, "core/app", "large");
            stage.assert_only_at("a", "core/app", "large");
        }
        (Ok(()), [_, at_b]) if at_b == wanted => stage.assert_arrives("a", &large, "core/app", "large"),
        (Err(_), [None, None]) => return,
        (pushed, found) => panic!("{pushed:?}, and the sites have {found:?}"),
    }
    assert_eq!(
        client.pull("core/app", "v1"),
        Pulled::Whole(first.root().digest.clone())
    );
    stage.json(&["dr", "failback", "main"]);
    assert_eq!(
        client.pull("core/app", "large"),
        Pulled::Whole(large.root().digest.clone())
    );
}
