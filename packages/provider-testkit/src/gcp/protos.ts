import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { GrpcClient, type grpc, protobuf } from "google-gax"

const require = createRequire(import.meta.url)
/** google-gax exports none of its JSON protos, so they are found beside its entry. */
const gaxProtos = join(dirname(require.resolve("google-gax")), "../protos")
const load = (path: string) => new GrpcClient().loadProtoJSON(require(path)) as unknown as Protos

/** `google.cloud.kms.v1.KeyManagementService`, from the protos that the SDK itself ships. */
export const keyManagement: grpc.ServiceDefinition = load("@google-cloud/kms/build/protos/protos.json").google
  .cloud.kms.v1.KeyManagementService.service

/** `google.iam.v1.IAMPolicy`, which serves `TestIamPermissions` at the same address. */
export const iamPolicy: grpc.ServiceDefinition = load(join(gaxProtos, "iam_service.json")).google.iam.v1
  .IAMPolicy.service

/** `google.rpc`: the details of a status. */
export const statusDetails: protobuf.Root = protobuf.Root.fromJSON(require(join(gaxProtos, "status.json")))

type Service = { readonly service: grpc.ServiceDefinition }
type Protos = {
  readonly google: {
    readonly cloud: { readonly kms: { readonly v1: { readonly KeyManagementService: Service } } }
    readonly iam: { readonly v1: { readonly IAMPolicy: Service } }
  }
}
