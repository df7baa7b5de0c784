import { Centrifuge } from "centrifuge/build/protobuf";
import { suite } from "./suite.js";

const encode = (value) => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

suite("centrifuge, Protobuf build", Centrifuge, { encode, decode });
