//! Networks as ONNX files, as a user types it.

mod common;

use std::path::Path;

use common::json;
use predicates::str::contains;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");

#[test]
fn a_model_file_becomes_an_onnx_file() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let model = place("model.safetensors");
    let mut import = common::forgeling();
    import.args(["import", "--model", "resnet18", "--option", "width=1"]);
    import.args(["--input", "3x32x32", "--out"]).arg(&model);
    import
        .arg(format!("{GOLDEN}weights.pth"))
        .assert()
        .success();

    let export = |model: &Path, onnx: &Path, options: &[&str]| {
        let mut command = common::forgeling();
        command.arg("export").arg(model).arg("--onnx").arg(onnx);
        command.args(options);
        command
    };
    let (wide, narrow) = (place("new/wide.onnx"), place("narrow.onnx"));
    let mut assert = export(&model, &wide, &[]).assert().success();
    for words in [
        "resnet18",
        "images [batch, 3, 32, 32]",
        "logits [batch, 3]",
        "20 Conv",
        "opset 20",
        "wide.onnx",
    ] {
        assert = assert.stdout(contains(words));
    }
    let object = json(&mut export(&model, &narrow, &["--precision", "f16"]), 0);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert_eq!(object["command"], "export");
    assert_eq!(
        (&object["opset"], &object["precision"]),
        (&20.into(), &"f16".into())
    );
    assert_eq!(object["bytes"], size(&narrow));
    assert!(size(&narrow) < size(&wide));
    assert_eq!(
        object["inputs"][0]["sizes"],
        serde_json::json!(["batch", 3, 32, 32])
    );
    assert_eq!(object["outputs"][0]["name"], "logits");
    assert_eq!(object["operators"]["Conv"], 20);
    // A receiver learns how to feed it.
    let bytes = std::fs::read(&narrow).unwrap();
    let said = b"[0.485,0.456,0.406]";
    assert!(bytes.windows(said.len()).any(|part| part == said));

    // What is no network, what is none at all, and where nothing can be written.
    let foreign = format!("{GOLDEN}weights.safetensors");
    let nothing = place("nothing.onnx");
    let absent = place("absent");
    for (model, onnx, words, named) in [
        (
            Path::new(&foreign),
            &*nothing,
            "without forgeling's header",
            Path::new(&foreign),
        ),
        (&wide, &nothing, "not a whole safetensors file", &wide),
        (&absent, &nothing, "", &absent),
        (
            &model,
            folder.path(),
            "a folder is in the file's place",
            folder.path(),
        ),
    ] {
        let object = json(&mut export(model, onnx, &[]), 3);
        let error = &object["error"];
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
        assert_eq!(error["path"], named.to_str().unwrap());
    }
    assert!(!nothing.exists());
    export(&model, &nothing, &["--precision", "f8"])
        .assert()
        .code(2);
}
