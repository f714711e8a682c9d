//! A trace as text: one line a span, with a bar that stands where the span stood in time.
//!
//! The bar's length and place are exact to a cell; its three fills are the span's shares of busy, scheduled and
//! idle time, in this order whatever the order in time was. Names come from services and are cleaned of control
//! characters: a terminal never takes orders from a span.

use crate::event::Status;
use crate::text::{clean, columns, fit, fit_left};
use crate::time::Nanos;
use crate::traces::{TraceNode, TraceSpan, TraceTree};

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With box and block characters; else plain ASCII.
    pub unicode: bool,
    /// With ANSI colours.
    pub color: bool,
}

/// Narrower than this nothing can be read; lines are then this long.
pub const NARROWEST: usize = 60;

const BUSY: &str = "36";
const SCHEDULED: &str = "33";
const FAINT: &str = "2";
const ERROR: &str = "31";
const STRONG: &str = "1";

/// What a cell of a bar stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    Busy,
    Scheduled,
    Idle,
    Unknown,
}

impl Fill {
    const ALL: [Fill; 4] = [Fill::Busy, Fill::Scheduled, Fill::Idle, Fill::Unknown];

    fn glyph(self, unicode: bool) -> char {
        match (self, unicode) {
            (Fill::Busy, true) => '█',
            (Fill::Scheduled, true) => '▒',
            (Fill::Idle, true) => '─',
            (Fill::Unknown, true) => '╌',
            (Fill::Busy, false) => '#',
            (Fill::Scheduled, false) => '=',
            (Fill::Idle, false) => '-',
            (Fill::Unknown, false) => '?',
        }
    }

    fn color(self) -> &'static str {
        match self {
            Fill::Busy => BUSY,
            Fill::Scheduled => SCHEDULED,
            Fill::Idle | Fill::Unknown => FAINT,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Fill::Busy => "busy",
            Fill::Scheduled => "scheduled",
            Fill::Idle => "idle",
            Fill::Unknown => "unknown",
        }
    }
}

/// Draws a trace, `width` columns wide.
pub fn render_trace(tree: &TraceTree, width: usize, style: Style) -> String {
    let page = Page::new(tree, width.max(NARROWEST), style);
    let mut out = String::new();
    page.head(&mut out);
    for node in &tree.nodes {
        page.line(node, &mut out);
        page.message(node, &mut out);
    }
    page.foot(&mut out);
    out
}

/// The columns, and what they are measured for.
struct Page<'a> {
    tree: &'a TraceTree,
    style: Style,
    width: usize,
    name: usize,
    /// 0 when there is only one service: the head names it.
    service: usize,
    bar: usize,
    place: usize,
}

/// Room for a duration: `~12.3µs` is the longest.
const DURATION: usize = 7;
/// A shorter bar tells nothing; the place makes room for it.
const SHORTEST_BAR: usize = 12;

impl<'a> Page<'a> {
    fn new(tree: &'a TraceTree, width: usize, style: Style) -> Page<'a> {
        let widest = |text: &dyn Fn(&TraceNode) -> usize| tree.nodes.iter().map(text).max().unwrap_or(0);
        let services = tree.services().len();
        let service = if services > 1 { widest(&|node| columns(&node.of.service)).min(12) } else { 0 };
        let name = widest(&|node| 3 * node.depth + columns(&name_of(&node.of))).clamp(12, width * 32 / 100);
        let place = widest(&|node| columns(&fit_left(&place_of(&node.of), width * 16 / 100)));
        let mut page = Page { tree, style, width, name, service, bar: 0, place };
        let bar = width.saturating_sub(page.before_bar() + if place > 0 { 2 + place } else { 0 });
        if bar < SHORTEST_BAR {
            page.place = 0;
        }
        page.bar = if page.place > 0 { bar } else { width - page.before_bar() };
        page
    }

    fn before_bar(&self) -> usize {
        let service = if self.service > 0 { 2 + self.service } else { 0 };
        self.name + service + 2 + DURATION + 2
    }

    fn head(&self, out: &mut String) {
        let tree = self.tree;
        let mut parts = vec![format!("trace {}", tree.id)];
        let services = tree.services();
        let mut said = match services.len() {
            0 => String::new(),
            1 => format!("{}  ", clean(services[0])),
            n => format!("{n} services  "),
        };
        said.push_str(&format!("{}  ", tree.duration()));
        said.push_str(&count(tree.nodes.len(), "span"));
        parts.push(said);
        let mut line = self.paint(STRONG, &parts.join("  "));
        if tree.errors > 0 {
            line.push_str("  ");
            line.push_str(&self.paint(ERROR, &count(tree.errors, "error")));
        }
        self.push(out, &line);

        let blank = " ".repeat(self.before_bar());
        let axis = self.axis();
        self.push(out, &format!("{blank}{}", self.paint(FAINT, &axis)));
    }

    /// `0`, half and whole of the duration over the bars.
    fn axis(&self) -> String {
        let whole = self.tree.duration().to_string();
        let half = Nanos(self.tree.duration().0 / 2).to_string();
        let mut cells: Vec<char> = vec![' '; self.bar];
        let mut put = |at: usize, text: &str| {
            for (cell, c) in cells[at..].iter_mut().zip(text.chars()) {
                *cell = c;
            }
        };
        put(0, "0");
        if self.bar >= 26 {
            put(self.bar / 2, &half);
        }
        put(self.bar - columns(&whole).min(self.bar), &whole);
        cells.into_iter().collect()
    }

    fn line(&self, node: &TraceNode, out: &mut String) {
        let span = &node.of.span;
        let indent = self.indent(node, false);
        let name = fit(&name_of(&node.of), self.name.saturating_sub(columns(&indent)).max(1));
        let pad = " ".repeat(self.name.saturating_sub(columns(&indent) + columns(&name)));
        let name = if span.status == Status::Error { self.paint(ERROR, &name) } else { name };
        let mut line = format!("{}{name}{pad}", self.paint(FAINT, &indent));
        if self.service > 0 {
            let service = fit(&clean(&node.of.service), self.service);
            line.push_str(&format!("  {service:<width$}", width = self.service));
        }
        let about = if span.estimated { "~" } else { "" };
        let duration = format!("{about}{}", span.end.since(span.start));
        line.push_str(&format!("  {duration:>DURATION$}  "));
        self.bar(&node.of, &mut line);
        if self.place > 0 {
            let place = place_of(&node.of);
            line.push_str("  ");
            line.push_str(&self.paint(FAINT, &fit_left(&place, self.place)));
        }
        self.push(out, &line);
    }

    /// The lines of the tree before a name, or before what stands below it, cut from the left where the tree is too deep for its column.
    fn indent(&self, node: &TraceNode, below: bool) -> String {
        let mut parts = Vec::new();
        let mut at = node;
        if node.depth > 0 {
            parts.push(match (node.last, below, self.style.unicode) {
                (false, false, true) => "├─ ",
                (true, false, true) => "└─ ",
                (false, false, false) => "|- ",
                (true, false, false) => "`- ",
                (true, true, _) => "   ",
                (false, true, true) => "│  ",
                (false, true, false) => "|  ",
            });
        }
        // Cut only where the name would not fit beside it.
        let fits = 3 * node.depth + columns(&name_of(&node.of)) <= self.name;
        let room = if fits { node.depth } else { self.name.saturating_sub(8) / 3 };
        while let Some(parent) = at.parent.map(|parent| &self.tree.nodes[parent]) {
            if parent.depth > 0 {
                if parts.len() >= room {
                    parts.push(if self.style.unicode { "…  " } else { "~  " });
                    break;
                }
                parts.push(match (parent.last, self.style.unicode) {
                    (true, _) => "   ",
                    (false, true) => "│  ",
                    (false, false) => "|  ",
                });
            }
            at = parent;
        }
        parts.reverse();
        parts.concat()
    }

    fn bar(&self, of: &TraceSpan, line: &mut String) {
        let span = &of.span;
        let whole = self.tree.duration().0.max(1);
        let cell = |at: u64| (u128::from(at) * self.bar as u128 / u128::from(whole)) as usize;
        let from = cell(span.start.since(self.tree.start).0).min(self.bar - 1);
        let to = cell(span.end.since(self.tree.start).0).clamp(from + 1, self.bar);
        line.push_str(&" ".repeat(from));
        let mut shown = 0;
        for (fill, cells) in fills(span.busy, span.scheduled, span.idle, to - from) {
            let text: String = std::iter::repeat_n(fill.glyph(self.style.unicode), cells).collect();
            line.push_str(&self.paint(fill.color(), &text));
            shown += cells;
        }
        line.push_str(&" ".repeat(self.bar - from - shown));
    }

    /// What is wrong with a span, below it.
    fn message(&self, node: &TraceNode, out: &mut String) {
        let span = &node.of.span;
        let text = match (&span.status_message, span.cancelled) {
            (Some(message), _) if span.status == Status::Error => clean(message),
            (_, true) => "cancelled".to_owned(),
            _ => return,
        };
        let mark = if self.style.unicode { "✗" } else { "!" };
        let indent = self.indent(node, true);
        let text = fit(&text, self.width.saturating_sub(columns(&indent) + 2));
        let text = self.paint(ERROR, &format!("{mark} {text}"));
        self.push(out, &format!("{}{text}", self.paint(FAINT, &indent)));
    }

    fn foot(&self, out: &mut String) {
        let unknown = |node: &TraceNode| {
            let span = &node.of.span;
            [span.busy, span.scheduled, span.idle] == [Nanos(0); 3]
        };
        let any_unknown = self.tree.nodes.iter().any(unknown);
        let legend: Vec<String> = Fill::ALL
            .into_iter()
            .filter(|fill| *fill != Fill::Unknown || any_unknown)
            .map(|fill| {
                let glyph = fill.glyph(self.style.unicode).to_string();
                format!("{} {}", self.paint(fill.color(), &glyph), fill.word())
            })
            .collect();
        let mut line = legend.join("  ");
        if self.tree.nodes.iter().any(|node| node.of.span.estimated) {
            line.push_str("  ~ estimated");
        }
        self.push(out, &line);
        if self.tree.orphans() > 0 {
            let missing = format!("{} whose parent is not here", count(self.tree.orphans(), "span"));
            self.push(out, &self.paint(FAINT, &missing));
        }
        if self.tree.dropped > 0 {
            let more = count(self.tree.dropped as usize, "further span");
            self.push(out, &self.paint(FAINT, &format!("{more} not kept")));
        }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if !self.style.color || text.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{color}m{text}\x1b[0m")
    }

    fn push(&self, out: &mut String, line: &str) {
        let line = line.trim_end();
        if self.style.unicode {
            out.push_str(line);
        } else {
            out.extend(line.chars().map(|c| match c {
                'µ' => 'u',
                '…' => '~',
                c if c.is_ascii() => c,
                _ => '?',
            }));
        }
        out.push('\n');
    }
}

/// Shares out `cells`. Rounding may hide a share under half a cell, but never the largest one.
fn fills(busy: Nanos, scheduled: Nanos, idle: Nanos, cells: usize) -> [(Fill, usize); 3] {
    let whole = u128::from(busy.0) + u128::from(scheduled.0) + u128::from(idle.0);
    if whole == 0 {
        return [(Fill::Unknown, cells), (Fill::Scheduled, 0), (Fill::Idle, 0)];
    }
    if cells == 1 {
        let largest = [(busy, Fill::Busy), (scheduled, Fill::Scheduled), (idle, Fill::Idle)];
        let fill = largest.into_iter().max_by_key(|(length, _)| *length).map_or(Fill::Idle, |(_, fill)| fill);
        return [(fill, 1), (Fill::Scheduled, 0), (Fill::Idle, 0)];
    }
    let end = |upto: u128| ((upto * cells as u128 * 2 + whole) / (2 * whole)) as usize;
    let first = end(busy.0.into());
    let second = end(u128::from(busy.0) + u128::from(scheduled.0));
    [(Fill::Busy, first), (Fill::Scheduled, second - first), (Fill::Idle, cells - second)]
}

fn name_of(of: &TraceSpan) -> String {
    clean(&of.span.name)
}

/// `orders.rs:41`, nothing if the place is not known.
fn place_of(of: &TraceSpan) -> String {
    let location = &of.span.callsite.location;
    if location.file.is_empty() {
        return String::new();
    }
    clean(&location.to_string())
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
