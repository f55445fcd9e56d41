//! Progress of a copy: bars on a terminal, lines at intervals elsewhere, nothing with `--json`.

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

/// Progress output that is removed when the copy ends.
pub(crate) struct Shown {
    listener: Arc<dyn Progress>,
    bars: Option<Arc<Bars>>,
}

impl Shown {
    /// Selects the output by the kind of standard error and the format of standard output.
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

    /// The progress port of a copy.
    pub(crate) fn listener(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.listener)
    }

    /// Removes the bars before the results are printed.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
    }
}
