// The functions of one instruction set, family by family.
#include "dk_core.h"

namespace DK_NS {
extern PyMethodDef methods_random[], methods_optim[], methods_conv[], methods_batch_norm[], methods_pool[], methods_softmax[], methods_layer_norm[], methods_elementwise[], methods_attention[], methods_rnn[];
extern PyMethodDef* const families[];
PyMethodDef* const families[] = {methods_random, methods_optim, methods_conv, methods_batch_norm, methods_pool, methods_softmax, methods_layer_norm, methods_elementwise, methods_attention, methods_rnn, nullptr};
}  // namespace DK_NS
