//! What a copy shows while it runs: bars on a terminal, now and then a line elsewhere, nothing where JSON is wanted.

mod bars;
mod images;
mod lines;

use std::io::IsTerminal as _;
use std::sync::Arc;

use transship_copy::{NoProgress, Progress};

use crate::output::Form;
use bars::Bars;
pub(crate) use images::ImagesShown;
use lines::Lines;

/// A progress that is shown, and taken away when it is over.
pub(crate) struct Shown {
    listener: Arc<dyn Progress>,
    bars: Option<Arc<Bars>>,
}

impl Shown {
    /// What suits standard error, and `form` on standard output.
    pub(crate) fn suitable(form: Form) -> Self {
        if std::io::stderr().is_terminal() {
            let bars = Arc::new(Bars::new());
            return Self {
                listener: Arc::clone(&bars) as _,
                bars: Some(bars),
            };
        }
        let listener: Arc<dyn Progress> = match form {
            Form::Text => Arc::new(Lines::new()),
            Form::Json => Arc::new(NoProgress),
        };
        Self { listener, bars: None }
    }

    /// What a copy talks to.
    pub(crate) fn listener(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.listener)
    }

    /// Takes bars away, so that results stand alone.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
    }
}
