const METRICS = [
  { key: "accuracy", title: "validation accuracy (%)", up: true, error: "accuracy_error" },
  { key: "cross_entropy", title: "validation cross-entropy (nats)", up: false },
  { key: "test", title: "test accuracy (%)", up: true, error: "test_error" },
];
const NEAR_POINTS = 10; // of accuracy below the exact network
