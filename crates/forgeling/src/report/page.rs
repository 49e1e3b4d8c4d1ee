//! A self-contained HTML page.

use std::fmt::Write as _;

use super::escape;

/// A page built from top to bottom. It needs no network: style and figures are inside.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6675;--line:#d9dee5;--paper:#fff;--accent:#0b6e6e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#343d4a;--paper:#14181f;--accent:#4fc3b5}}\
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2.5rem auto;padding:0 1.25rem}\
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}\
p{max-width:44rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{color:var(--soft);font-weight:500}figure{margin:1rem 0;overflow-x:auto}svg{max-width:100%;height:auto}\
figcaption{color:var(--soft);font-size:.9rem}.big{font-size:1.35rem;color:var(--accent)}";

impl Page {
    /// A page with a title and nothing below it yet.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.into(),
            body: String::new(),
        }
    }

    /// Adds a section heading.
    #[must_use]
    pub fn heading(mut self, text: &str) -> Self {
        let _ = writeln!(self.body, "<h2>{}</h2>", escape(text));
        self
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn paragraph(mut self, text: &str) -> Self {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
        self
    }

    /// Adds the page's main result in large type.
    #[must_use]
    pub fn result(mut self, text: &str) -> Self {
        let _ = writeln!(self.body, "<p class=\"big\">{}</p>", escape(text));
        self
    }

    /// Adds a table with a header row. Rows shorter than the header are filled with empty cells.
    #[must_use]
    pub fn table<S: AsRef<str>>(mut self, header: &[&str], rows: &[Vec<S>]) -> Self {
        self.body.push_str("<table><thead><tr>");
        for cell in header {
            let _ = write!(self.body, "<th scope=\"col\">{}</th>", escape(cell));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for column in 0..header.len() {
                let cell = row.get(column).map_or("", AsRef::as_ref);
                let _ = write!(self.body, "<td>{}</td>", escape(cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table>\n");
        self
    }

    /// Adds an SVG figure as made by this module, with a caption.
    #[must_use]
    pub fn figure(mut self, svg: &str, caption: &str) -> Self {
        let _ = writeln!(
            self.body,
            "<figure>{svg}<figcaption>{}</figcaption></figure>",
            escape(caption)
        );
        self
    }

    /// The whole document.
    pub fn render(&self) -> String {
        let title = escape(&self.title);
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{}</body></html>\n",
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_short_rows_are_filled() {
        let page = Page::new("a < b")
            .paragraph("<script>alert(\"x\")</script>")
            .table(&["one", "two"], &[vec!["1 & 2"]])
            .render();
        assert!(page.contains("<title>a &lt; b</title>"));
        assert!(!page.contains("<script>"));
        assert!(page.contains("<td>1 &amp; 2</td><td></td>"));
    }
}
