//! Parts of reports on few-shot models.

use std::ffi::OsString;

use forgeling::Result;
use forgeling::data::tasks::EpisodeList;
use forgeling::data::{Dataset, TaskSource};
use forgeling::meta::{Evaluation, Learner, Side, confusion};
use forgeling::report::{
    Page, ScatterPoint, confusion_figure, pca, reliability_figure, scatter_figure,
};

/// Classes of the table of the hardest ones.
const HARDEST: usize = 8;

/// What the page is of, and how to have it made again.
pub fn origin(page: Page, rows: &[(&str, String)]) -> Page {
    let rows = rows.iter().map(|(what, text)| (*what, text.clone()));
    let last = [
        ("command", command()),
        (
            "version",
            format!("forgeling {}", env!("CARGO_PKG_VERSION")),
        ),
    ];
    let rows: Vec<Vec<String>> = rows
        .chain(last)
        .map(|(what, text)| vec![what.to_owned(), text])
        .collect();
    page.heading("Made by").table(&["", ""], &rows)
}

/// The command that is running, as a shell takes it.
pub fn command() -> String {
    command_line(std::env::args_os().skip(1))
}

fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_+=.,:/@%".contains(c);
    let quoted = |word: OsString| {
        let word = word.to_string_lossy();
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let words = std::iter::once("forgeling".to_owned()).chain(arguments.map(quoted));
    words.collect::<Vec<_>>().join(" ")
}

/// How far the model knows what it knows.
pub fn calibration(page: Page, evaluation: &Evaluation) -> Result<Page> {
    let calibration = &evaluation.details.calibration;
    let figure = reliability_figure(calibration)?;
    let said = format!(
        "Accuracy by confidence, over all queries: a calibrated model lies on the diagonal. Expected calibration error \
         {:.2} %, negative log likelihood {:.3}.",
        100.0 * calibration.expected_error,
        evaluation.details.negative_log_likelihood
    );
    Ok(page.heading("Calibration").figure(&figure, &said))
}

/// The classes that are classified worst.
pub fn classes(page: Page, evaluation: &Evaluation) -> Page {
    let mut classes: Vec<_> = evaluation.details.classes.iter().collect();
    classes.sort_by(|a, b| a.1.accuracy().total_cmp(&b.1.accuracy()));
    let row = |(name, tally): &(&String, &forgeling::meta::Tally)| {
        let share = format!("{:.1} %", 100.0 * tally.accuracy());
        vec![(*name).clone(), share, tally.total.to_string()]
    };
    let rows: Vec<Vec<String>> = classes.iter().take(HARDEST).map(row).collect();
    page.heading("Hardest classes")
        .table(&["class", "told right", "queries"], &rows)
}

/// One episode: what is taken for what, and where its features lie.
pub async fn episode(
    page: Page,
    model: &Learner,
    data: &dyn Dataset,
    list: &EpisodeList,
) -> Result<Page> {
    let Some(task) = list.tasks(data)?.next_task()? else {
        return Ok(page);
    };
    let (Some(plan), Some(labels)) = (task.plan(), task.query().classes()) else {
        return Ok(page);
    };
    let names: Vec<String> = plan
        .classes
        .iter()
        .map(|&class| data.class_name(class))
        .collect();
    let answers = model.answer(std::slice::from_ref(&task), false).await?;
    let counts = confusion(&answers[0], labels, task.outputs())?;
    let [support, query] = model.features(&task).await?;
    let sides = [
        (Side::Support, support.len(), task.support().classes()),
        (Side::Query, query.len(), task.query().classes()),
    ];
    let plane = pca(&[support, query].concat())?;
    let mut places = plane.points.iter();
    let mut points = Vec::new();
    for (side, count, classes) in sides {
        for (&at, &class) in places.by_ref().take(count).zip(classes.unwrap_or_default()) {
            points.push(ScatterPoint { at, class, side });
        }
    }
    let [first, second] = plane
        .explained
        .map(|share| format!("{:.0} %", 100.0 * share));
    let axes = (
        format!("first component, {first} of the variance"),
        format!("second component, {second}"),
    );
    let scatter = scatter_figure(&points, &names, (&axes.0, &axes.1))?;
    Ok(page
        .heading("The first episode")
        .figure(
            &confusion_figure(&names, &counts)?,
            "Queries of each class (rows) by the class that they were taken for (columns)",
        )
        .figure(
            &scatter,
            "Features of support (diamonds) and queries (dots), in the plane in which they differ most",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let words = ["eval", "--data", "folder:my photos", "it's", "", "a&b"];
        let said = command_line(words.into_iter().map(OsString::from));
        assert_eq!(
            said,
            r"forgeling eval --data 'folder:my photos' 'it'\''s' '' 'a&b'"
        );
    }
}
