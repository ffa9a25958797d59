const METRICS = [
  { key: "accuracy", title: `validation ${data.measure.name}`, up: data.measure.up, error: "accuracy_error" },
  { key: "cross_entropy", title: "validation loss", up: false },
  { key: "test", title: `test ${data.measure.name}`, up: data.measure.up, error: "test_error" },
];
const NEAR_POINTS = data.measure.near; // of the metric below the exact network
