export {
  type KekConformance,
  type PhysicalLaw,
  runKekConformance,
  type TestRunner,
} from "./conformance.ts"
export type { Fault, InjectOptions, KmsEmulator, RecordedCall } from "./emulator.ts"
export type { Direction, KekFault, KekHarness } from "./law.ts"
