//! A flip and the way back, while clients pull by the name.

use transship_testkit::name_server::Product;
use transship_tests::failover::{Stage, there_and_back};

#[test]
fn clients_of_bind_are_led_there_and_back() {
    if !Stage::skipped() {
        there_and_back(Stage::start(Product::Bind, "15m"));
    }
}

#[test]
fn clients_of_knot_are_led_there_and_back() {
    if !Stage::skipped() {
        there_and_back(Stage::start(Product::Knot, "15m"));
    }
}
