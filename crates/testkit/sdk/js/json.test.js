import { Centrifuge } from "centrifuge";
import { suite } from "./suite.js";

const same = (value) => value;

suite("centrifuge, JSON build", Centrifuge, { encode: same, decode: same });
