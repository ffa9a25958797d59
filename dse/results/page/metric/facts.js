    ["validation", `${number(trial.accuracy, 4)} (${trial.fidelity}), loss ${number(trial.cross_entropy, 4)}`],
    ...(trial.whole === null ? [] : [["on all of them", number(trial.whole, 4)]]),
    ["fine-tuned", trial.tuned === null ? "no" : number(trial.tuned, 4)],
    ["test", trial.test === null ? "not tested" : number(trial.test, 4)],
