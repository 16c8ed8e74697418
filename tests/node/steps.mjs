// Lists the steps that pages do not know: the folder of the scripts as the argument, names on stdin.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { unknownSteps } = await import(new URL("preprocessing.js", `${pathToFileURL(process.argv[2])}/`));

console.log(JSON.stringify(unknownSteps(JSON.parse(readFileSync(0)).map((step) => ({ step })))));
