//! The path of a field in the document, and the position of that field in the text.

use std::fmt;

use serde_saphyr::granit_parser::{Event, Parser, Span};

use crate::error::Position;

/// A path of keys and positions: `rules[0].source.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// The path of the key `name` at the top of the document.
    pub(crate) fn of(name: &str) -> Self {
        Self::default().key(name)
    }

    /// The key `name` of the mapping at this path.
    pub(crate) fn key(&self, name: &str) -> Self {
        self.with(Segment::Key(name.to_owned()))
    }

    /// The entry `position`, counted from 0, of the sequence at this path.
    pub(crate) fn index(&self, position: usize) -> Self {
        self.with(Segment::Index(position))
    }

    /// True if one of the keys on the path is `name`.
    pub(crate) fn passes(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|segment| matches!(segment, Segment::Key(key) if key == name))
    }

    /// True if the last segment is the key `name`.
    pub(crate) fn ends_with(&self, name: &str) -> bool {
        matches!(self.0.last(), Some(Segment::Key(key)) if key == name)
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl From<&serde_path_to_error::Path> for Path {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Told;
        Self(
            path.iter()
                .filter_map(|segment| match segment {
                    Told::Seq { index } => Some(Segment::Index(*index)),
                    Told::Map { key } => Some(Segment::Key(key.clone())),
                    Told::Enum { variant } => Some(Segment::Key(variant.clone())),
                    Told::Unknown => None,
                })
                .collect(),
        )
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(position) => write!(formatter, "[{position}]")?,
                Segment::Key(key) if depth == 0 => formatter.write_str(key)?,
                Segment::Key(key) => write!(formatter, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// A collection that is being traversed.
struct Frame {
    /// The wanted paths that lead here, by their numbers; empty outside all paths.
    wanted: Vec<usize>,
    /// Number of segments of these paths up to here.
    depth: usize,
    /// The next entry.
    next: Next,
}

enum Next {
    Index(usize),
    Key,
    Value(String, Position),
}

/// The position of each of `paths` in `text`, or of the nearest field around it, in one pass. A field that a YAML alias brings in
/// has the position of the alias. [`None`] for the document as a whole, and for a text that cannot be read.
pub(crate) fn locate(text: &str, paths: &[&Path]) -> Vec<Option<Position>> {
    let mut found = vec![None; paths.len()];
    let mut missing = paths.len();
    let mut frames: Vec<Frame> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        if missing == 0 {
            break;
        }
        let next = match event {
            Event::SequenceEnd | Event::MappingEnd => {
                frames.pop();
                continue;
            }
            Event::Scalar(..) | Event::Alias(_) => None,
            Event::SequenceStart(..) => Some(Next::Index(0)),
            Event::MappingStart(..) => Some(Next::Key),
            _ => continue,
        };
        let here = position(&span);
        let Some(Entered {
            wanted,
            depth,
            position,
        }) = enter(frames.last_mut(), paths, &event, here, next.is_some())
        else {
            // A collection as a key is skipped.
            frames.extend(next.map(|next| Frame {
                wanted: Vec::new(),
                depth: 0,
                next,
            }));
            continue;
        };
        for &number in wanted.iter().filter(|_| depth > 0) {
            found[number] = Some(position);
            missing -= usize::from(depth == paths[number].0.len());
        }
        frames.extend(next.map(|next| Frame { wanted, depth, next }));
    }
    found
}

/// A node on the way: the paths that lead to it, their segments up to it, and its position.
struct Entered {
    wanted: Vec<usize>,
    depth: usize,
    position: Position,
}

/// Moves `frame` past one node; [`None`] for a key.
fn enter(
    frame: Option<&mut Frame>,
    paths: &[&Path],
    event: &Event<'_>,
    here: Position,
    is_collection: bool,
) -> Option<Entered> {
    let Some(frame) = frame else {
        return Some(Entered {
            wanted: (0..paths.len()).collect(),
            depth: 0,
            position: here,
        });
    };
    let depth = frame.depth + 1;
    let leads = |segment: &dyn Fn(&Segment) -> bool| {
        let wanted = frame.wanted.iter().copied();
        wanted
            .filter(|number| paths[*number].0.get(frame.depth).is_some_and(segment))
            .collect()
    };
    match std::mem::replace(&mut frame.next, Next::Key) {
        Next::Index(index) => {
            let wanted = leads(&|segment| matches!(segment, Segment::Index(wanted) if *wanted == index));
            frame.next = Next::Index(index + 1);
            Some(Entered {
                wanted,
                depth,
                position: here,
            })
        }
        Next::Key => {
            let key = match event {
                Event::Scalar(text, ..) if !frame.wanted.is_empty() => text.to_string(),
                _ => String::new(),
            };
            frame.next = Next::Value(key, here);
            None
        }
        Next::Value(key, key_position) => Some(Entered {
            wanted: leads(&|segment| matches!(segment, Segment::Key(name) if *name == key)),
            depth,
            position: if is_collection { key_position } else { here },
        }),
    }
}

/// The parser counts lines from 1 and characters from 0.
fn position(span: &Span) -> Position {
    Position {
        line: span.start.line() as u64,
        column: span.start.col() as u64 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "registries:\n  a: {endpoint: \"x\"}\nrules:\n  - name: one\n  - name: two\n    source: { namespace: core,\n              tag: { regex: \"(\" } }\n";

    fn at(path: &Path) -> (u64, u64) {
        let position = locate(TEXT, &[path])[0].unwrap();
        (position.line, position.column)
    }

    #[test]
    fn a_field_is_found_in_block_and_flow_text() {
        assert_eq!(at(&Path::of("registries").key("a").key("endpoint")), (2, 17));
        let rule = Path::of("rules").index(1);
        assert_eq!(
            rule.key("source").key("namespace").to_string(),
            "rules[1].source.namespace"
        );
        assert_eq!(at(&rule.key("name")), (5, 11));
        assert_eq!(at(&rule.key("source")), (6, 5));
        assert_eq!(at(&rule.key("source").key("tag").key("regex")), (7, 29));
    }

    #[test]
    fn a_field_that_is_not_written_stands_where_its_parent_does() {
        assert_eq!(at(&Path::of("rules").index(1).key("source").key("registry")), (6, 5));
        assert_eq!(locate(TEXT, &[&Path::of("links")]), [None]);
    }

    #[test]
    fn many_fields_are_found_in_one_pass() {
        let rules = Path::of("rules");
        let paths = [
            rules.index(1).key("name"),
            Path::of("links"),
            rules.index(0).key("name"),
            rules.clone(),
            rules,
        ];
        let found = locate(TEXT, &paths.each_ref());
        let lines: Vec<_> = found.iter().map(|found| found.map(|position| position.line)).collect();
        assert_eq!(lines, [Some(5), None, Some(4), Some(3), Some(3)]);
    }
}
